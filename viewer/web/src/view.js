// Where one looks from and through which lens: a pose in the page's frame and the intrinsics of a pinhole camera.

import { cross, dot, normalized, scaled, sum, turnedAbout } from "./vectors.js";

const WIDEST = Math.tan((50 * Math.PI) / 180); // half of what the longer side of a window may show

export class View {
  /** `position`: 3 numbers; `rotation`: 9 by rows, columns right, up, back; `lens`: {fx, fy, cx, cy, width, height}. */
  constructor(position, rotation, lens) {
    this.position = [...position];
    this.rotation = [...rotation];
    this.lens = { ...lens };
  }

  copy() {
    return new View(this.position, this.rotation, this.lens);
  }

  get right() {
    return this.#column(0);
  }

  get up() {
    return this.#column(1);
  }

  get forward() {
    return scaled(this.#column(2), -1);
  }

  #column(i) {
    return [this.rotation[i], this.rotation[3 + i], this.rotation[6 + i]];
  }

  /** Turns the camera where it stands. */
  turn(axis, angle) {
    const columns = [0, 1, 2].map((i) => turnedAbout(this.#column(i), axis, angle));
    for (let row = 0; row < 3; row++) for (let i = 0; i < 3; i++) this.rotation[3 * row + i] = columns[i][row];
  }

  /** Turns the camera, place and all, about a point. */
  swing(point, axis, angle) {
    const arm = this.position.map((value, i) => value - point[i]);
    this.position = sum(point, turnedAbout(arm, axis, angle));
    this.turn(axis, angle);
  }

  move(offset) {
    this.position = sum(this.position, offset);
  }

  /** Looks along `forward` with the picture's top towards `up`. */
  look(forward, up) {
    const back = scaled(normalized(forward), -1);
    let right = cross(up, back);
    if (dot(right, right) < 1e-12) right = this.right; // straight up or down: keep what was right
    right = normalized(right);
    const top = cross(back, right);
    for (let row = 0; row < 3; row++) {
      this.rotation.splice(3 * row, 3, right[row], top[row], back[row]);
    }
  }

  /** Camera to world, 16 numbers, columns first. */
  matrix() {
    const [r, p] = [this.rotation, this.position];
    return [r[0], r[3], r[6], 0, r[1], r[4], r[7], 0, r[2], r[5], r[8], 0, p[0], p[1], p[2], 1];
  }

  /**
   * What a window of so many pixels shows, at distance 1: the whole picture of the lens and more on two sides, but
   * no wider than is pleasant where the shapes differ much (a landscape photograph on an upright phone).
   */
  frustum(width, height, { near, far }) {
    const { fx, fy, cx, cy, width: w, height: h } = this.lens;
    const [fits, fills] = [Math.min(width / w, height / h), Math.max(width / w, height / h)];
    const pleasant = Math.max(width / fx, height / fy) / 2 / WIDEST;
    const scale = Math.max(fits, Math.min(fills, pleasant));
    const x = width / 2 + scale * (cx - w / 2);
    const y = height / 2 + scale * (cy - h / 2);
    const [sx, sy] = [scale * fx, scale * fy];
    return { left: -x / sx, right: (width - x) / sx, top: y / sy, bottom: -(height - y) / sy, near, far };
  }

  /** How long one CSS pixel of the window is at distance 1. */
  pixel(width, height) {
    const { left, right } = this.frustum(width, height, { near: 1, far: 2 });
    return (right - left) / width;
  }
}

/** Between two views: straight for places and lenses, by the shortest turn for directions. */
export function between(a, b, t) {
  const mix = (x, y) => x + (y - x) * t;
  const position = a.position.map((value, i) => mix(value, b.position[i]));
  const lens = Object.fromEntries(Object.keys(a.lens).map((key) => [key, mix(a.lens[key], b.lens[key])]));
  const view = new View(position, b.rotation, lens);
  const direction = sum(scaled(a.forward, 1 - t), scaled(b.forward, t));
  const up = sum(scaled(a.up, 1 - t), scaled(b.up, t));
  if (dot(direction, direction) > 1e-4) view.look(direction, up);
  return view;
}
