// The one file that knows the splat renderer (Spark on three.js). Everything else sees this interface:
//
//   new Engine(canvas, {antialiased, background, changed})   throws where there is no WebGL 2
//   add(bytes)   -> Promise<{count, visible, remove()}>            an .spz in the page's frame, decoded in a worker
//   addParts(files, spans, place) -> Promise<Map(offset -> layer)> runs [offset, count] of a SOG, files by name, in RDF
//                                    axes; place {scale, shift} puts it into the page; invisible at first
//   draw(shot) -> void                                             now, in the order of the last sort
//   settle(shot) -> Promise<void>                                  sorted for this very view
//   finish() -> void                                               waits until what was drawn is there
//   count, backgroundColor
//
// A shot is {matrix, frustum, width, height}: camera to world (16 numbers, columns first, three's axes), {left, right,
// top, bottom} at distance 1 with {near, far}, pixels. `changed()` says that the picture can now be drawn better.

import { ExtSplats, SparkRenderer, SplatFileType, SplatMesh } from "@sparkjsdev/spark";
import { zipSync } from "fflate";
import { Color, PerspectiveCamera, Scene, SRGBColorSpace, WebGLRenderer } from "three";

// What the CPU and CUDA renderers of neural do: variance added in square pixels, the least visible opacity, and how
// far a Gaussian of opacity 1 then reaches.
const BLUR = 0.3;
const COMPENSATED_BLUR = 0.1;
const LEAST_ALPHA = 1 / 255;
const REACH = Math.sqrt(2 * Math.log(255));
const QUICK_REACH = Math.sqrt(8); // while it moves: a quarter less to fill
const LARGEST_RADIUS = 2048; // pixels
const TEXTURE_WIDTH = 2048; // Spark's, of the textures that hold Gaussians

export class Engine {
  #renderer;
  #spark;
  #scene = new Scene();
  #camera = new PerspectiveCamera();
  #layers = new Set();
  #changed;

  constructor(canvas, { antialiased, background, changed }) {
    this.#changed = changed;
    this.#renderer = new WebGLRenderer({ canvas, antialias: false, powerPreference: "high-performance" });
    this.#renderer.setPixelRatio(1);
    this.#spark = new SparkRenderer({
      renderer: this.#renderer,
      preBlurAmount: antialiased ? 0 : BLUR,
      blurAmount: antialiased ? COMPENSATED_BLUR : 0,
      maxStdDev: REACH,
      maxPixelRadius: LARGEST_RADIUS,
      minAlpha: LEAST_ALPHA,
      sortRadial: false, // by depth, as scenes are trained
      accumExtSplats: true, // centres in 32 bits, colours beyond 1 while they are summed
      enableLod: false,
      onDirty: () => this.#changed(),
    });
    this.#scene.add(this.#spark);
    this.#camera.matrixAutoUpdate = false;
    this.backgroundColor = background;
  }

  /** How many Gaussians are shown. */
  get count() {
    let sum = 0;
    for (const layer of this.#layers) sum += layer.visible ? layer.count : 0;
    return sum;
  }

  /** sRGB behind everything, three numbers in [0, 1]. */
  set backgroundColor(rgb) {
    this.#scene.background = new Color().setRGB(...rgb, SRGBColorSpace);
  }

  async add(bytes) {
    const splats = new ExtSplats({ fileBytes: bytes, fileType: SplatFileType.SPZ });
    await splats.initialized;
    return this.#layer(splats);
  }

  async addParts(files, spans, { scale, shift }) {
    const bytes = zipSync(files, { level: 0 }); // the form of a SOG that the decoder takes from memory
    const whole = new ExtSplats({ fileBytes: bytes, fileType: SplatFileType.PCSOGSZIP });
    await whole.initialized;
    const layers = new Map();
    for (const [offset, count] of spans) {
      if (offset + count > whole.numSplats) throw new Error("a file of this scene is damaged: it is too short");
      const layer = this.#layer(part(whole, offset, count), (mesh) => {
        mesh.quaternion.set(1, 0, 0, 0); // RDF to the page's axes
        mesh.scale.setScalar(scale);
        mesh.position.fromArray(shift);
        mesh.visible = false;
      });
      layers.set(offset, layer);
    }
    whole.dispose();
    return layers;
  }

  #layer(splats, prepare = () => {}) {
    const mesh = new SplatMesh({ splats, extSplats: splats, raycastable: false });
    prepare(mesh);
    const layers = this.#layers;
    const layer = {
      count: splats.numSplats,
      get visible() {
        return mesh.visible;
      },
      set visible(shown) {
        mesh.visible = shown;
      },
      remove() {
        mesh.removeFromParent();
        mesh.dispose();
        layers.delete(layer);
      },
    };
    layers.add(layer);
    this.#scene.add(mesh);
    return layer;
  }

  draw(shot) {
    this.#spark.autoUpdate = true;
    this.#spark.maxStdDev = QUICK_REACH;
    this.#pose(shot);
    this.#render(shot);
  }

  async settle(shot) {
    const spark = this.#spark;
    do {
      while (spark.sorting) await new Promise((resolve) => setTimeout(resolve, 1)); // of an earlier view
      this.#pose(shot);
      this.#scene.updateMatrixWorld();
      await spark.update({ scene: this.#scene, camera: this.#camera });
    } while (spark.sorting || spark.sortDirty);
    spark.autoUpdate = false;
    spark.maxStdDev = REACH;
    this.#render(shot);
  }

  finish() {
    const gl = this.#renderer.getContext();
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
  }

  /** Another size empties the canvas, so it is set in the same task as the drawing. */
  #render({ width, height }) {
    const { width: w, height: h } = this.#renderer.domElement;
    if (width !== w || height !== h) this.#renderer.setSize(width, height, false);
    this.#renderer.render(this.#scene, this.#camera);
  }

  #pose({ matrix, frustum: { left, right, top, bottom, near, far } }) {
    const camera = this.#camera;
    camera.matrix.fromArray(matrix);
    camera.matrixWorldNeedsUpdate = true;
    camera.updateMatrixWorld();
    camera.near = near;
    camera.far = far;
    camera.fov = (2 * Math.atan(Math.max(top, -bottom)) * 180) / Math.PI;
    camera.projectionMatrix.makePerspective(left * near, right * near, top * near, bottom * near, near, far);
    camera.projectionMatrixInverse.copy(camera.projectionMatrix).invert();
  }
}

/** Rows of decoded Gaussians; every array of them has four words a row, and whole rows of a texture. */
function part(whole, offset, count) {
  const padded = Math.ceil(count / TEXTURE_WIDTH) * TEXTURE_WIDTH;
  const cut = (words) => {
    const found = new Uint32Array(4 * padded);
    found.set(words.subarray(4 * offset, 4 * (offset + count)));
    return found;
  };
  const extra = {};
  for (const name of ["sh1", "sh2", "sh3a", "sh3b"]) if (whole.extra[name]) extra[name] = cut(whole.extra[name]);
  return new ExtSplats({ extArrays: whole.extArrays.map(cut), numSplats: count, extra });
}
