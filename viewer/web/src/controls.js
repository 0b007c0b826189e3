// Mouse, touch and keys move the view: orbit, pan, zoom, walk. Motion eases out; nothing here draws.

import { difference, dot, length, normalized, scaled, sum } from "./vectors.js";
import { between } from "./view.js";

const TURN = 0.006; // radians for each CSS pixel
const STEEPEST = 0.999; // cosine between up and what one looks along
const JUMP = 0.6; // seconds of a flight to another camera
const WALK = { KeyW: [0, 0, 1], KeyS: [0, 0, -1], KeyA: [-1, 0, 0], KeyD: [1, 0, 0], KeyE: [0, 1, 0], KeyQ: [0, -1, 0] };
const LOOK = { ArrowLeft: [1, 0], ArrowRight: [-1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] };
const STOPPED = 1e-3;

export class Controls {
  #canvas;
  #pointers = new Map();
  #keys = new Set();
  #flight = null;
  #glide = [0, 0]; // radians a second that an orbit goes on with
  #pending = 0; // input that has not been drawn yet

  /**
   * `view` is moved in place; `up` is the direction that stays up; `distance` that of what is looked at; `speed` page
   * units a second of a walk; `wake` asks for drawing.
   */
  constructor(canvas, view, { up, distance, speed, wake }) {
    Object.assign(this, { view, up, distance, speed, wake });
    this.#canvas = canvas;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.#lift(event));
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("dblclick", (event) => this.#approach(event));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    addEventListener("keydown", (event) => this.#key(event, true));
    addEventListener("keyup", (event) => this.#key(event, false));
    addEventListener("blur", () => this.#keys.clear());
  }

  /** The point that an orbit turns about. */
  get target() {
    return sum(this.view.position, scaled(this.view.forward, this.distance));
  }

  /** Fly to a view, or be there at once. */
  go(view, distance, { flying = true } = {}) {
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.#glide = [0, 0];
    this.#flight = flying && !still ? { from: this.view.copy(), to: view, distance: [this.distance, distance], at: 0 } : null;
    if (!this.#flight) this.#stand(view, distance);
    this.wake();
  }

  /** Moves on by so many seconds; whether anything moved. */
  animate(seconds) {
    let moving = this.#pending > 0 || this.#pointers.size > 0;
    this.#pending = 0;
    if (this.#flight) {
      this.#fly(seconds);
      moving = true;
    }
    if (this.#keys.size) {
      this.#walk(seconds);
      moving = true;
    }
    if (!this.#pointers.size && Math.hypot(...this.#glide) > STOPPED) {
      this.#orbit(this.#glide[0] * seconds, this.#glide[1] * seconds);
      this.#glide = this.#glide.map((value) => value * Math.exp(-6 * seconds));
      if (Math.hypot(...this.#glide) < 0.02) this.#glide = [0, 0];
      moving = true;
    }
    return moving;
  }

  #stand(view, distance) {
    Object.assign(this.view, view.copy());
    this.distance = distance;
  }

  #fly(seconds) {
    const flight = this.#flight;
    flight.at = Math.min(1, flight.at + seconds / JUMP);
    const eased = flight.at ** 2 * (3 - 2 * flight.at);
    const [a, b] = flight.distance;
    if (flight.at < 1) {
      this.#stand(between(flight.from, flight.to, eased), a + (b - a) * eased);
    } else {
      this.#stand(flight.to, b);
      this.#flight = null;
    }
  }

  #walk(seconds) {
    const fast = this.#keys.has("ShiftLeft") || this.#keys.has("ShiftRight") ? 4 : 1;
    const { right, forward } = this.view;
    for (const key of this.#keys) {
      const [x, y, z] = WALK[key] ?? [0, 0, 0];
      const step = this.speed * fast * seconds;
      this.view.move(sum(sum(scaled(right, x * step), scaled(this.up, y * step)), scaled(forward, z * step)));
      const [yaw, pitch] = LOOK[key] ?? [0, 0];
      if (yaw || pitch) this.#look(yaw * seconds * 1.2, pitch * seconds * 1.2);
    }
  }

  /** About the target: `yaw` around up, `pitch` around the right of the picture. */
  #orbit(yaw, pitch) {
    const target = this.target;
    this.view.swing(target, this.up, yaw);
    if (this.#mayPitch(pitch)) this.view.swing(target, this.view.right, pitch);
  }

  #look(yaw, pitch) {
    this.view.turn(this.up, yaw);
    if (this.#mayPitch(pitch)) this.view.turn(this.view.right, pitch);
  }

  #mayPitch(pitch) {
    const along = dot(this.view.forward, this.up);
    return Math.abs(along) < STEEPEST || along * pitch < 0;
  }

  #pan(dx, dy) {
    const unit = this.view.pixel(this.#canvas.clientWidth, this.#canvas.clientHeight) * this.distance;
    this.view.move(sum(scaled(this.view.right, -dx * unit), scaled(this.view.up, dy * unit)));
  }

  #zoom(factor) {
    const shorter = this.distance * factor;
    this.view.move(scaled(this.view.forward, this.distance - shorter));
    this.distance = Math.max(shorter, this.speed * 0.02);
  }

  #down(event) {
    this.#canvas.setPointerCapture(event.pointerId);
    this.#canvas.focus({ preventScroll: true });
    this.#flight = null;
    this.#glide = [0, 0];
    this.#pointers.set(event.pointerId, { x: event.clientX, y: event.clientY, time: event.timeStamp });
    this.wake();
  }

  #move(event) {
    const pointer = this.#pointers.get(event.pointerId);
    if (!pointer) return;
    const [dx, dy] = [event.clientX - pointer.x, event.clientY - pointer.y];
    const before = this.#spread();
    const seconds = Math.max((event.timeStamp - pointer.time) / 1000, 1 / 240);
    Object.assign(pointer, { x: event.clientX, y: event.clientY, time: event.timeStamp });
    if (this.#pointers.size >= 2) {
      const after = this.#spread();
      this.#pan(dx / this.#pointers.size, dy / this.#pointers.size);
      if (before > 0 && after > 0) this.#zoom(before / after);
    } else if (event.buttons & 6 || event.shiftKey || event.ctrlKey || event.metaKey) {
      this.#pan(dx, dy);
    } else {
      this.#orbit(-dx * TURN, -dy * TURN);
      const rate = [-dx, -dy].map((d) => Math.max(-3, Math.min(3, (d * TURN) / seconds)));
      this.#glide = this.#glide.map((value, i) => 0.7 * value + 0.3 * rate[i]);
    }
    this.#changed();
  }

  #lift(event) {
    const pointer = this.#pointers.get(event.pointerId);
    if (!pointer) return;
    this.#pointers.delete(event.pointerId);
    if (event.timeStamp - pointer.time > 60 || this.#pointers.size) this.#glide = [0, 0]; // it had stopped
    this.wake();
  }

  /** Mean distance of the fingers from their middle; 0 for one. */
  #spread() {
    const all = [...this.#pointers.values()];
    const middle = [0, 0];
    for (const { x, y } of all) {
      middle[0] += x / all.length;
      middle[1] += y / all.length;
    }
    return all.reduce((sum, { x, y }) => sum + Math.hypot(x - middle[0], y - middle[1]), 0) / Math.max(1, all.length);
  }

  #wheel(event) {
    event.preventDefault();
    const lines = event.deltaMode === 1 ? 16 : event.deltaMode === 2 ? 400 : 1;
    this.#zoom(Math.exp(Math.max(-200, Math.min(200, event.deltaY * lines)) * 0.0015));
    this.#changed();
  }

  /** A double click looks at what is under it and goes half of the way. */
  #approach(event) {
    const [width, height] = [this.#canvas.clientWidth, this.#canvas.clientHeight];
    const { left, top } = this.view.frustum(width, height, { near: 1, far: 2 });
    const pixel = this.view.pixel(width, height);
    const [x, y] = [left + event.offsetX * pixel, top - event.offsetY * pixel];
    const { right, up, forward } = this.view;
    const ray = sum(forward, sum(scaled(right, x), scaled(up, y)));
    const target = sum(this.view.position, scaled(ray, this.distance));
    const view = this.view.copy();
    view.look(ray, this.up);
    view.position = sum(target, scaled(normalized(difference(view.position, target)), this.distance / 2));
    this.go(view, length(difference(target, view.position)));
  }

  #key(event, down) {
    const known = event.code in WALK || event.code in LOOK || event.code.startsWith("Shift");
    const typing = event.target instanceof HTMLInputElement;
    if (!known || typing || event.ctrlKey || event.metaKey || event.altKey) {
      if (!down) this.#keys.delete(event.code);
      return;
    }
    if (event.code.startsWith("Arrow")) event.preventDefault();
    if (down) {
      this.#flight = null;
      this.#keys.add(event.code);
    } else {
      this.#keys.delete(event.code);
    }
    this.wake();
  }

  #changed() {
    this.#pending++;
    this.#flight = null;
    this.wake();
  }
}
