// Three numbers at a time.

export const sum = (a, b) => a.map((value, i) => value + b[i]);
export const difference = (a, b) => a.map((value, i) => value - b[i]);
export const scaled = (a, factor) => a.map((value) => value * factor);
export const dot = (a, b) => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
export const length = (a) => Math.sqrt(dot(a, a));
export const normalized = (a) => scaled(a, 1 / (length(a) || 1));
export const cross = (a, b) => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];

/** Rodrigues: `a` turned about a unit axis. */
export function turnedAbout(a, axis, angle) {
  const [c, s] = [Math.cos(angle), Math.sin(angle)];
  return sum(sum(scaled(a, c), scaled(cross(axis, a), s)), scaled(axis, dot(axis, a) * (1 - c)));
}
