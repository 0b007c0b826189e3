// Fused multilayer perceptron on the CPU: blocks of 64 samples go through all layers while their values stay in the
// nearest caches. Backward passes compute a block's hidden values again instead of storing them: at these widths
// that costs less than the memory traffic. Gradients of the parameters are summed per chunk of samples (chunks depend on
// the batch alone), then chunk by chunk in order, so they do not depend on the number of threads.
#include "mlp.h"
#include "common/block_gemm.h"
#include "common/features.h"
#include "common/threads.h"
#include "mlp.cuh"

namespace neural {
namespace NEURAL_ISA {
namespace {

using gemm::kBlock;
constexpr i64 kMinChunk = 1024; // samples per task
constexpr i64 kMaxChunks = 64;  // tasks that hold a sum of their own

struct Math {
    static NEURAL_HD vfloat exp(vfloat v) { return NEURAL_ISA::exp(v); }
    static NEURAL_HD vfloat log(vfloat v) { return NEURAL_ISA::log(v); }
    static NEURAL_HD void sincos(vfloat v, vfloat& s, vfloat& c) { NEURAL_ISA::sincos(v, s, c); }
};

struct Net {
    mlp::Shape shape;
    int activation, output_activation;
    float frequency;
    const float* params;

    int activation_of(int layer) const { return layer == shape.n_hidden ? output_activation : activation; }
    const float* weights(int layer) const { return params + shape.offset(layer); }
    int n_layers() const { return shape.n_hidden + 1; }
    int widest() const {
        const int ends = shape.n_in > shape.n_out ? shape.n_in : shape.n_out;
        return ends > shape.width ? ends : shape.width;
    }
};

// Calls visit(Constant<activation>).
template <int Act = 0, class Visit> void with_activation(int activation, const Visit& visit) {
    if constexpr (Act < mlp::kActivationCount) {
        if (activation == Act) visit(Constant<Act>{});
        else with_activation<Act + 1>(activation, visit);
    }
}

// a = phi(z) on `rows` rows of a block.
void activate(const Net& net, int activation, int rows, const float* z, float* a) {
    with_activation(activation, [&](auto code) {
        for (int i = 0; i < rows * kBlock; i += kWidth)
            store(a + i, mlp::activate<decltype(code)::value, Math>(load(z + i), net.frequency).value);
    });
}
// g *= phi'(z)
void times_slope(const Net& net, int activation, int rows, const float* z, float* g) {
    if (activation == mlp::kNone) return;
    with_activation(activation, [&](auto code) {
        for (int i = 0; i < rows * kBlock; i += kWidth)
            store(g + i, load(g + i) * mlp::activate<decltype(code)::value, Math>(load(z + i), net.frequency).first);
    });
}

// Rows n .. n+count-1 as a block [columns, kBlock]; samples past `count` are zero.
void load_block(Rows rows, i64 n, int count, int columns, float* block) {
    if (rows.stride_n != 1 && count == kBlock) {
        gemm::transpose(rows.data + n * rows.stride_n, rows.stride_n, kBlock, columns, block, kBlock);
        return;
    }
    for (int k = 0; k < columns; ++k)
        for (int i = 0; i < kBlock; i += kWidth) {
            const int left = count - i;
            store(block + k * kBlock + i, left <= 0 ? vfloat{} : rows.load_lanes(n + i, k, left < kWidth ? left : kWidth));
        }
}
void store_block(const float* block, int columns, i64 n, int count, i64 n_total, float* out) {
    for (int k = 0; k < columns; ++k)
        for (int i = 0; i < count; i += kWidth)
            store(out + k * n_total + n + i, load(block + k * kBlock + i), count - i < kWidth ? count - i : kWidth);
}

// A block's values on their way through the layers: z(l), a(l) = phi(z(l)) for each layer, a(-1) the input. Where phi is
// the identity or ReLU (whose slope a tells as well as z) both are one buffer.
struct Values {
    float* input;
    float* z[mlp::kMaxHidden + 1];
    float* a[mlp::kMaxHidden + 1];

    static i64 size(const Net& net) { return i64(net.shape.n_in + 2 * net.n_layers() * net.widest()) * kBlock; }
    Values(const Net& net, float* memory) : input(memory) {
        memory += net.shape.n_in * kBlock;
        for (int l = 0; l < net.n_layers(); ++l) {
            const int act = net.activation_of(l);
            z[l] = memory;
            a[l] = act == mlp::kNone || act == mlp::kRelu ? z[l] : z[l] + net.widest() * kBlock;
            memory += 2 * net.widest() * kBlock;
        }
    }
    const float* before(int layer) const { return layer == 0 ? input : a[layer - 1]; }
};

struct StoreRelu {
    float* out;
    NEURAL_HD void operator()(int r, int c, vfloat value) const {
        store(out + r * kBlock + c, value <= 0.0f ? vfloat{} : value);
    }
};

// y = W x of a layer on a block, without bias or activation.
void multiply(const Net& net, int layer, const float* x, const float* bias, float* y) {
    const int inputs = net.shape.inputs(layer), outputs = net.shape.outputs(layer);
    gemm::product({net.weights(layer), inputs, 1}, outputs, inputs, bias, x, kBlock, kBlock, gemm::Store{y, kBlock});
}
// y = W^T x
void multiply_transposed(const Net& net, int layer, const float* x, float* y) {
    const int inputs = net.shape.inputs(layer), outputs = net.shape.outputs(layer);
    gemm::product({net.weights(layer), 1, inputs}, inputs, outputs, nullptr, x, kBlock, kBlock, gemm::Store{y, kBlock});
}

// Layers 0 .. last on a block whose input is in place.
void forward_block(const Net& net, int last, const Values& v) {
    for (int l = 0; l <= last; ++l) {
        const float* bias = net.shape.bias_of(net.params, l);
        const int act = net.activation_of(l), outputs = net.shape.outputs(l), inputs = net.shape.inputs(l);
        if (act == mlp::kRelu) {
            gemm::product({net.weights(l), inputs, 1}, outputs, inputs, bias, v.before(l), kBlock, kBlock, StoreRelu{v.a[l]});
            continue;
        }
        multiply(net, l, v.before(l), bias, v.z[l]);
        if (act != mlp::kNone) activate(net, act, outputs, v.z[l], v.a[l]);
    }
}

// A task's sum of parameter gradients, each row of W padded to whole vectors, biases behind.
struct Sums {
    float* data;
    float* transposed; // [kBlock, padded width]: a block's values, samples first

    static i64 padded_row(const Net& net, int layer) { return gemm::padded(net.shape.inputs(layer)); }
    static i64 offset(const Net& net, int layer) {
        i64 sum = 0;
        for (int l = 0; l < layer; ++l) sum += net.shape.outputs(l) * (padded_row(net, l) + 1);
        return sum;
    }
    // W += g x^T over the block's samples
    void add_outer(const Net& net, int layer, const float* g, const float* x) const {
        const int inputs = net.shape.inputs(layer);
        const i64 row = padded_row(net, layer);
        gemm::transpose(x, kBlock, inputs, kBlock, transposed, row);
        for (int s = 0; inputs < row && s < kBlock; ++s)
            for (i64 k = inputs; k < row; ++k) transposed[s * row + k] = 0.0f;
        gemm::product({g, kBlock, 1}, net.shape.outputs(layer), kBlock, nullptr, transposed, row, int(row),
                      gemm::Add{data + offset(net, layer), row});
    }
    void add_bias(const Net& net, int layer, const float* g) const {
        if (!net.shape.bias) return;
        const int outputs = net.shape.outputs(layer);
        float* b = data + offset(net, layer) + outputs * padded_row(net, layer);
        for (int j = 0; j < outputs; ++j) {
            vfloat total{};
            for (int i = 0; i < kBlock; i += kWidth) total = total + load(g + j * kBlock + i);
            b[j] += sum(total);
        }
    }
    void add_to(const Net& net, float* grad_params) const {
        for (int l = 0; l < net.n_layers(); ++l) {
            const int inputs = net.shape.inputs(l), outputs = net.shape.outputs(l);
            const i64 row = padded_row(net, l);
            const float* from = data + offset(net, l);
            float* to = grad_params + net.shape.offset(l);
            for (int j = 0; j < outputs; ++j)
                for (int k = 0; k < inputs; ++k) to[j * inputs + k] += from[j * row + k];
            for (int j = 0; net.shape.bias && j < outputs; ++j) to[i64(outputs) * inputs + j] += from[outputs * row + j];
        }
    }
};

// Parameter gradients over fixed chunks of samples: body(first, last, sums) per chunk, sums added in chunk order.
template <class Body> void over_chunks(const Net& net, i64 n, float* grad_params, int n_threads, const Body& body) {
    i64 chunk = (n + kMaxChunks - 1) / kMaxChunks;
    chunk = ((chunk < kMinChunk ? kMinChunk : chunk) + kBlock - 1) / kBlock * kBlock;
    const i64 n_chunks = (n + chunk - 1) / chunk;
    const i64 size = grad_params ? Sums::offset(net, net.n_layers()) : 0;
    Scratch<float> all(size_t(n_chunks * size));
    const i64 transposed = kBlock * gemm::padded(net.widest());
    parallel_for(n_chunks, n_threads, [&](i64 c) {
        Scratch<float> memory{size_t(transposed)};
        body(c * chunk, (c + 1) * chunk < n ? (c + 1) * chunk : n, Sums{all.data + c * size, memory.data});
    });
    if (grad_params)
        for (i64 c = 0; c < n_chunks; ++c) Sums{all.data + c * size, nullptr}.add_to(net, grad_params);
}

bool all_zero(const float* block, int rows) {
    vint any{};
    for (int i = 0; i < rows * kBlock; i += kWidth) any = any | (load(block + i) != 0.0f);
    for (int i = 0; i < kWidth; ++i)
        if (any[i]) return false;
    return true;
}

// g holds the gradient of the output's a; leaves that of the input in g (if wanted), using `other` as a second buffer.
float* backward_block(const Net& net, const Values& v, float* g, float* other, bool want_input, const Sums* sums) {
    for (int l = net.shape.n_hidden; l >= 0; --l) {
        times_slope(net, net.activation_of(l), net.shape.outputs(l), v.z[l], g);
        if (sums) {
            sums->add_outer(net, l, g, v.before(l));
            sums->add_bias(net, l, g);
        }
        if (l == 0 && !want_input) break;
        multiply_transposed(net, l, g, other);
        float* done = g;
        g = other;
        other = done;
    }
    return g;
}

} // namespace

void mlp_forward(const float* params, int n_in, int n_out, int width, int n_hidden, int bias, int activation,
                 int output_activation, float frequency, const float* in, i64 in_n, i64 in_k, i64 n, float* out,
                 int n_threads) {
    const Net net{{n_in, n_out, width, n_hidden, bias}, activation, output_activation, frequency, params};
    const Rows inputs{in, in_n, in_k};
    parallel_for((n + kMinChunk - 1) / kMinChunk, n_threads, [&](i64 chunk) {
        Scratch<float> memory(size_t(Values::size(net)));
        const Values v(net, memory.data);
        const i64 end = (chunk + 1) * kMinChunk < n ? (chunk + 1) * kMinChunk : n;
        for (i64 s = chunk * kMinChunk; s < end; s += kBlock) {
            const int count = end - s < kBlock ? int(end - s) : kBlock;
            load_block(inputs, s, count, n_in, v.input);
            forward_block(net, n_hidden, v);
            store_block(v.a[n_hidden], n_out, s, count, n, out);
        }
    });
}

void mlp_backward(const float* params, int n_in, int n_out, int width, int n_hidden, int bias, int activation,
                  int output_activation, float frequency, const float* in, i64 in_n, i64 in_k, const float* grad_out,
                  i64 grad_n, i64 grad_k, i64 n, float* grad_in, float* grad_params, int n_threads) {
    const Net net{{n_in, n_out, width, n_hidden, bias}, activation, output_activation, frequency, params};
    const Rows inputs{in, in_n, in_k}, upstream{grad_out, grad_n, grad_k};
    const int last = output_activation == mlp::kNone ? n_hidden - 1 : n_hidden; // the last layer computed again
    over_chunks(net, n, grad_params, n_threads, [&](i64 first, i64 end, const Sums& sums) {
        Scratch<float> memory(size_t(Values::size(net) + 2 * net.widest() * kBlock));
        const Values v(net, memory.data);
        float* g = memory.data + Values::size(net);
        float* other = g + net.widest() * kBlock;
        for (i64 s = first; s < end; s += kBlock) {
            const int count = end - s < kBlock ? int(end - s) : kBlock;
            load_block(upstream, s, count, n_out, g);
            const float* result = g;
            if (all_zero(g, n_out)) { // samples behind an early stop
                for (int i = 0; i < n_in * kBlock; i += kWidth) store(g + i, vfloat{});
            } else {
                load_block(inputs, s, count, n_in, v.input);
                forward_block(net, last, v);
                result = backward_block(net, v, g, other, grad_in != nullptr, grad_params ? &sums : nullptr);
            }
            if (grad_in) store_block(result, n_in, s, count, n, grad_in);
        }
    });
}

// s = <grad_out, dy>, dy the output's derivative along `direction`: t(-1) = direction, t(l) = phi'(z) W t(l-1), s = <grad_out,
// t(last)>. The pass forward carries z and u = W t; the pass back carries the gradients of s by t and by a:
//   gu = phi'(z) gt,  gz = phi''(z) u gt + phi'(z) ga,  gW = gu t^T + gz a^T,  gb = gz,  gt = W^T gu,  ga = W^T gz.
void mlp_backward_backward(const float* params, int n_in, int n_out, int width, int n_hidden, int bias, int activation,
                           int output_activation, float frequency, const float* in, i64 in_n, i64 in_k,
                           const float* grad_out, i64 grad_n, i64 grad_k, const float* direction, i64 dir_n, i64 dir_k,
                           i64 n, float* grad_params, float* grad_in, float* grad_grad, int n_threads) {
    const Net net{{n_in, n_out, width, n_hidden, bias}, activation, output_activation, frequency, params};
    const Rows inputs{in, in_n, in_k}, upstream{grad_out, grad_n, grad_k}, along{direction, dir_n, dir_k};
    const i64 layer = net.widest() * kBlock;
    over_chunks(net, n, grad_params, n_threads, [&](i64 first, i64 end, const Sums& sums) {
        Scratch<float> memory(size_t(Values::size(net) + (2 * net.n_layers() + 5) * layer));
        const Values v(net, memory.data);
        float* tangents = memory.data + Values::size(net); // t(-1), then u(l), t(l) per layer
        float* gt = tangents + (2 * net.n_layers() + 1) * layer;
        float* ga = gt + layer;
        float* gu = ga + layer;
        float* gz = gu + layer;
        const auto u = [&](int l) { return tangents + (2 * l + 1) * layer; };
        const auto t = [&](int l) { return tangents + (2 * l + 2) * layer; };
        for (i64 s = first; s < end; s += kBlock) {
            const int count = end - s < kBlock ? int(end - s) : kBlock;
            load_block(inputs, s, count, n_in, v.input);
            load_block(along, s, count, n_in, tangents);
            load_block(upstream, s, count, n_out, gt);
            forward_block(net, n_hidden, v);
            for (int l = 0; l < net.n_layers(); ++l) {
                multiply(net, l, l == 0 ? tangents : t(l - 1), nullptr, u(l));
                const int values = net.shape.outputs(l) * kBlock;
                __builtin_memcpy(t(l), u(l), size_t(values) * sizeof(float));
                times_slope(net, net.activation_of(l), net.shape.outputs(l), v.z[l], t(l));
            }
            if (grad_grad) store_block(t(n_hidden), n_out, s, count, n, grad_grad);
            if (!grad_params && !grad_in) continue;
            for (int i = 0; i < n_out * kBlock; i += kWidth) store(ga + i, vfloat{});
            for (int l = n_hidden; l >= 0; --l) {
                const float* z = v.z[l];
                const float* ul = u(l);
                with_activation(net.activation_of(l), [&](auto code) {
                    for (int i = 0; i < net.shape.outputs(l) * kBlock; i += kWidth) {
                        const auto phi = mlp::activate<decltype(code)::value, Math>(load(z + i), frequency);
                        const vfloat gti = load(gt + i);
                        store(gu + i, phi.first * gti);
                        store(gz + i, phi.second * load(ul + i) * gti + phi.first * load(ga + i));
                    }
                });
                if (grad_params) {
                    sums.add_outer(net, l, gu, l == 0 ? tangents : t(l - 1));
                    sums.add_outer(net, l, gz, v.before(l));
                    sums.add_bias(net, l, gz);
                }
                if (l > 0) multiply_transposed(net, l, gu, gt);
                if (l > 0 || grad_in) multiply_transposed(net, l, gz, ga);
            }
            if (grad_in) store_block(ga, n_in, s, count, n, grad_in);
        }
    });
}

} // namespace NEURAL_ISA
} // namespace neural
