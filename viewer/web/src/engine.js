// The one file that knows the splat renderer (Spark on three.js). Everything else sees this interface:
//
//   new Engine(canvas, {antialiased, background, changed})   throws where there is no WebGL 2
//   add(bytes, {type})   -> Promise<{count, visible, remove()}>   an .spz or a bundled .sog, decoded in a worker
//   draw(shot) -> void                                             now, in the order of the last sort
//   settle(shot) -> Promise<void>                                  sorted for this very view
//   count, backgroundColor
//
// A shot is {matrix, frustum, width, height}: camera to world (16 numbers, columns first, three's axes), {left, right,
// top, bottom} at distance 1 with {near, far}, pixels. `changed()` says that the picture can now be drawn better.

import { SparkRenderer, SplatFileType, SplatMesh } from "@sparkjsdev/spark";
import { Color, PerspectiveCamera, Scene, SRGBColorSpace, WebGLRenderer } from "three";

// What the CPU and CUDA renderers of neural do: variance added in square pixels, the least visible opacity, and how
// far a Gaussian of opacity 1 then reaches.
const BLUR = 0.3;
const COMPENSATED_BLUR = 0.1;
const LEAST_ALPHA = 1 / 255;
const REACH = Math.sqrt(2 * Math.log(255));
const LARGEST_RADIUS = 2048; // pixels

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

  async add(bytes, { type = "spz" } = {}) {
    const fileType = { spz: SplatFileType.SPZ, sog: SplatFileType.PCSOGSZIP }[type];
    const mesh = new SplatMesh({ fileBytes: bytes, fileType, extSplats: true, raycastable: false });
    await mesh.initialized;
    const layers = this.#layers;
    const layer = {
      count: mesh.extSplats.numSplats,
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
    this.#layers.add(layer);
    this.#scene.add(mesh);
    return layer;
  }

  draw(shot) {
    this.#spark.autoUpdate = true;
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
    this.#render(shot);
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
