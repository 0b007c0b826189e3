// The page: reads what it carries, draws the coarse level first, then the rest, and hands out `window.neural`.

import { format, parse } from "./address.js";
import { Controls } from "./controls.js";
import { description, levelBytes } from "./embedded.js";
import { Engine } from "./engine.js";
import { Frame } from "./frames.js";
import { Interface } from "./interface.js";
import { Loop } from "./loop.js";
import { Stream } from "./stream.js";
import { View } from "./view.js";

const scene = description();
const frame = new Frame(scene);
const canvas = document.getElementById("canvas");
const places = scene.cameras.map(({ c2w }) => frame.pose(c2w).position);
const timings = { begun: performance.now(), levels: [] }; // ms since the page was asked for

const ui = new Interface(scene, { reset, camera: (index) => goTo(index), background: repaint, link: writeAddress });

/** A view from numbers of the scene's frame. */
function viewOf({ c2w, intrinsics: [fx, fy, cx, cy], size: [width, height] }) {
  const { position, rotation } = frame.pose(c2w);
  return new View(position, rotation, { fx, fy, cx, cy, width, height });
}

function startView() {
  const asked = parse(location.hash, scene.cameras.length);
  const camera = asked?.camera ?? scene.start.camera;
  const numbers = asked?.c2w ? asked : camera >= 0 ? scene.cameras[camera] : scene.start;
  ui.choose(asked?.c2w ? -1 : camera);
  return { view: viewOf(numbers), distance: frame.scale * (numbers.focus ?? scene.start.focus) };
}

/** Depths that are drawn: nothing in the clear space that there is around each camera. */
function limits({ position }) {
  const away = Math.min(...places.map((place) => Math.hypot(...place.map((x, axis) => x - position[axis]))));
  const near = Math.max(frame.scale * scene.near, frame.scale * scene.clear - away);
  return { near, far: frame.scale * scene.far };
}

let engine;
let loop;
let controls;
let stream;

function begin() {
  engine = new Engine(canvas, {
    antialiased: scene.antialiased,
    background: scene.background,
    changed: () => loop?.refresh(),
  });
  const { view, distance } = startView();
  controls = new Controls(canvas, view, {
    up: frame.direction(scene.up),
    distance,
    speed: frame.scale * scene.extent * 0.25,
    wake: () => loop.wake(),
  });
  loop = new Loop(engine, canvas, view, limits, (seconds) => {
    const moving = controls.animate(seconds);
    follow(moving);
    return moving;
  });
}

function goTo(index, options) {
  ui.choose(index);
  controls.go(viewOf(scene.cameras[index]), frame.scale * scene.cameras[index].focus, options);
}

function reset() {
  const { camera } = scene.start;
  if (camera >= 0) goTo(camera);
  else controls.go(viewOf(scene.start), frame.scale * scene.start.focus);
}

function repaint(rgb) {
  engine.backgroundColor = rgb;
  loop.wake();
}

/** Where one stands, in the scene's frame. */
function standing() {
  const { fx, fy, cx, cy, width, height } = controls.view.lens;
  return { c2w: frame.c2w(controls.view), intrinsics: [fx, fy, cx, cy], size: [width, height] };
}

function writeAddress() {
  history.replaceState(null, "", format(standing()));
}

function readAddress() {
  const asked = parse(location.hash, scene.cameras.length);
  if (asked?.camera !== undefined) goTo(asked.camera);
  else if (asked) stand(asked);
}

function stand(numbers) {
  ui.choose(-1);
  controls.go(viewOf(numbers), controls.distance, { flying: false });
}

/** Coarse to fine: a level takes the place of the one before it, and the files of a folder that of the last. */
async function load(first) {
  const sum = scene.levels.reduce((bytes, level) => bytes + level.bytes, 0);
  let done = 0;
  let shown = null;
  for (const [index, level] of scene.levels.entries()) {
    const from = performance.now();
    const bytes = await levelBytes(index, level, (filled) => ui.progress(((done + filled) / sum) * 0.99, scene.title));
    const layer = await engine.add(bytes);
    timings.levels.push({ bytes: level.bytes, count: layer.count, ms: performance.now() - from });
    done += level.bytes;
    shown?.remove();
    shown = layer;
    loop.wake();
    if (index === 0) {
      await loop.settled();
      timings.first = performance.now();
      first();
    }
  }
  if (scene.stream) await startStream(shown);
  await loop.settled();
  timings.complete = performance.now();
  ui.progress(1, "");
}

/** From the disk nothing can be fetched, so there the page stays as coarse as what it carries. */
async function startStream(coarse) {
  if (location.protocol === "file:") {
    ui.note("Opened from a disk: this is a coarse preview. Put the folder on a web host to see all of it.");
    return;
  }
  const shift = frame.point([0, 0, 0].map((value, i) => value + scene.stream.origin[i]));
  stream = await Stream.open(scene.stream.index, engine, {
    place: { scale: frame.scale, shift },
    budget: scene.stream.budget ?? gaussianBudget(),
    changed: () => loop.wake(),
  });
  follow(false);
  if (await stream.covered) coarse.remove(); // else files are missing, and it stands in for them
  while (!stream.done) await new Promise((resolve) => setTimeout(resolve, 20));
}

/** How many Gaussians are drawn at most: less on phones. */
function gaussianBudget() {
  return matchMedia("(pointer: coarse)").matches ? 600_000 : 2_000_000;
}

/** Tells the stream where the camera is, in the frame of its files. */
function follow(moving) {
  if (!stream) return;
  const eye = frame.scenePoint(controls.view.position).map((value, i) => value - scene.stream.origin[i]);
  const pixels = 1 / controls.view.pixel(canvas.clientWidth, canvas.clientHeight);
  stream.follow({ eye, forward: frame.direction(controls.view.forward), pixels }, { moving });
}

function failed(error) {
  ui.failed(error.message);
  console.error(error);
}

let seen;
const ready = new Promise((resolve) => (seen = resolve));
let complete;
try {
  begin();
  complete = load(seen);
  complete.catch(failed);
} catch (error) {
  failed(/webgl/i.test(error.message) ? new Error("This browser or machine has no WebGL 2, which the page draws with.") : error);
}
addEventListener("hashchange", readAddress);
canvas.addEventListener("webglcontextlost", () => ui.failed("The graphics driver has stopped this page; load it again."));

/** For tests and for pages around this one. Poses and lenses are in the scene's frame, matrices by rows. */
window.neural = {
  ready,
  complete,
  timings,
  cameras: scene.cameras,
  /** The view: {c2w, intrinsics, size}. */
  get camera() {
    return standing();
  },
  set camera(numbers) {
    stand(numbers);
  },
  /** Stand at a camera of the page. */
  goTo: (index) => goTo(index, { flying: false }),
  /** A promise of the next sharp picture. */
  settled: () => loop.settled(),
  /** Pictures drawn so far. */
  get frames() {
    return loop.frames;
  },
  /** Gaussians shown. */
  get count() {
    return engine.count;
  },
};
