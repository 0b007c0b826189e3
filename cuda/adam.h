// CPU kernel of Adam. Formulas: adam.cuh; Python face: adam.py.
// param, grad, exp_avg, exp_avg_sq and ema are contiguous fp32 [n_rows, n_features], copy 16-bit of the same shape.
#pragma once
#include "common/entry.h"

// One step in place. Dense if row_steps is nullptr, else lazy: a row whose gradient is all zero keeps its state, and
// row_steps[row] (int32) counts the others' steps. Optional, nullptr where unused:
//   touched    one bit per 64 rows, lazy only: rows without a bit are known to have no gradient; bits are cleared
//   places     i32, with `touched`: grad has only the rows of touched blocks; block b of 64 rows is block places[b] of it
//   copy       rewritten with the new values (copy_kind 1: fp16, 2: bf16)
//   ema        average of the parameter; lazy: ema_steps[row] (int32) is the step that its average stands at
//   nonfinite  int32 counter, raised by the number of Inf or NaN gradients; those elements are left as they are
// `step` is this step's number, from 1; clear_grad != 0 leaves the gradient zero. The floats are adam::Settings.
NEURAL_KERNEL(void, adam_step,
              (float* param, float* grad, float* exp_avg, float* exp_avg_sq, i64 n_rows, i64 n_features, i64 step,
               i32* row_steps, i64* touched, const i32* places, u16* copy, int copy_kind, float* ema, i32* ema_steps, i32* nonfinite,
               int clear_grad, float rate, float inv_root, float beta1, float rest1, float log1, float beta2,
               float rest2, float log2, float eps, float l2, float keep, float grad_scale, float ema_decay,
               float ema_rest, float log_ema, int n_threads))
