// CPU kernel of the photometric loss, value and gradient in one pass. Formula: ssim.cuh; Python face: ssim.py.
#pragma once
#include "common/entry.h"

// loss [1] = l1_scale sum |x - y| + offset - ssim_scale sum S, the second sum over windows that lie inside the image
// and whose centre is in the mask, both over all channels.
// Element (y, x, c) of image, target and grad is at y stride_y + x stride_x + c stride_c. Of target_f32 and target_u8
// (0 to 255 for 0 to 1) one is nullptr; so may be mask [height, width] (0: the image counts as equal to the target
// there) and grad, which receives d loss / d image. height and width are at least 11.
NEURAL_KERNEL(void, ssim_loss,
              (const float* image, i64 image_stride_y, i64 image_stride_x, i64 image_stride_c, const float* target_f32,
               const u8* target_u8, i64 target_stride_y, i64 target_stride_x, i64 target_stride_c, const u8* mask,
               i64 height, i64 width, i64 channels, double l1_scale, double ssim_scale, double offset, float* loss,
               float* grad, i64 grad_stride_y, i64 grad_stride_x, i64 grad_stride_c, int n_threads))
