// The functions of a GPU, for maths that is templated on a machine. A CPU kernel has the same of vectors of lanes.
#pragma once
#include "platform.cuh"

namespace neural {

struct Machine {
    typedef bool Mask;
    NEURAL_HD float exp(float v) const { return expf(v); }
    NEURAL_HD float log(float v) const { return logf(v); }
    NEURAL_HD float sqrt(float v) const { return sqrtf(v); }
    NEURAL_HD float abs(float v) const { return fabsf(v); }
    NEURAL_HD float inverse(float v) const { return 1.0f / v; }
    NEURAL_HD void sincos_pi(float t, float& s, float& c) const { sincospif(t, &s, &c); }
    NEURAL_HD float clamp(float v, float low, float high) const { return v < low ? low : (v > high ? high : v); }
    NEURAL_HD float choose(bool mask, float a, float b) const { return mask ? a : b; }
    NEURAL_HD float or_zero(bool mask, float v) const { return mask ? v : 0.0f; }
    NEURAL_HD bool both(bool a, bool b) const { return a && b; }
    NEURAL_HD bool above(float a, float b) const { return a > b; }
    NEURAL_HD bool at_least(float a, float b) const { return a >= b; }
};

} // namespace neural
