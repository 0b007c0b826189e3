// A streamed scene: fetches the files that `levels.js` asks for, coarse before fine, shows of every leaf one level at a
// time and drops what has not been drawn for long.

import { available, choose, leavesOf } from "./levels.js";

const AT_ONCE = 4; // files on their way
const LATELY = 8; // choices: a file that was wanted so recently is kept
const PATIENCE = 250; // ms between choices while the camera moves

export class Stream {
  #engine;
  #base;
  #index;
  #leaves;
  #budget;
  #changed;
  #files; // per file: null, "coming", "failed" or {layers: Map(offset -> layer)}
  #wanted = new Map(); // file -> choice in which it was last wanted
  #coming = 0;
  #choice = 0;
  #last = -Infinity;
  #seen = ""; // the camera of the last choice
  #queue = [];
  #resolve;

  /** Whether all leaves have something to show, once they have or no more will come. */
  covered = new Promise((resolve) => (this.#resolve = resolve));

  /** `url` of the lod-meta.json; `place` {scale, shift} puts its frame into the page; `changed()` asks for drawing. */
  static async open(url, engine, { place, budget, changed }) {
    const response = await fetch(url);
    if (!response.ok) throw new Error(`${url}: ${response.status}; copy the whole folder to the web host`);
    const stream = new Stream();
    stream.#index = await response.json();
    stream.#leaves = leavesOf(stream.#index);
    stream.#files = stream.#index.filenames.map(() => null);
    stream.#base = new URL(".", response.url);
    Object.assign(stream, { place });
    stream.#engine = engine;
    stream.#budget = budget;
    stream.#changed = changed;
    return stream;
  }

  /** Follows the camera: `eye` and `forward` in the frame of the tree, `pixels` the focal length of the window. */
  follow(camera, { now = performance.now(), moving = false } = {}) {
    const seen = JSON.stringify(camera);
    if (seen === this.#seen || (moving && now - this.#last < PATIENCE)) return;
    this.#seen = seen;
    this.#last = now;
    this.#choice++;
    const chosen = choose(this.#leaves, { ...camera, budget: this.#budget });
    const queue = new Map(); // file -> its level
    for (const [i, leaf] of this.#leaves.entries()) {
      leaf.wanted = chosen[i];
      for (const lod of [leaf.lods[0], leaf.lods[chosen[i]]]) {
        this.#wanted.set(lod.file, this.#choice);
        if (this.#files[lod.file] === null) queue.set(lod.file, lod.level);
      }
    }
    this.#queue = [...queue].sort((a, b) => b[1] - a[1]).map(([file]) => file);
    this.#fetchNext();
    this.#show();
  }

  /** Whether everything that is wanted is shown. */
  get done() {
    return this.#coming === 0 && this.#queue.length === 0;
  }

  #fetchNext() {
    while (this.#coming < AT_ONCE && this.#queue.length) this.#fetch(this.#queue.shift());
  }

  async #fetch(file) {
    this.#files[file] = "coming";
    this.#coming++;
    try {
      const spans = new Map();
      for (const { lods } of this.#leaves) for (const lod of lods) if (lod.file === file) spans.set(lod.offset, lod.count);
      const files = await sogFiles(new URL(this.#index.filenames[file], this.#base));
      const parts = await this.#engine.addParts(files, [...spans], this.place);
      this.#files[file] = { layers: parts };
    } catch (error) {
      this.#files[file] = "failed"; // its leaves stay coarse
      console.error(error);
    }
    this.#coming--;
    this.#fetchNext();
    this.#show();
  }

  #show() {
    let [covered, different] = [true, false];
    const shown = new Set();
    for (const leaf of this.#leaves) {
      const at = available(leaf, leaf.wanted, (file) => this.#files[file]?.layers);
      if (at < 0) covered = false;
      else shown.add(this.#files[leaf.lods[at].file].layers.get(leaf.lods[at].offset));
    }
    for (const [file, content] of this.#files.entries()) {
      if (!content?.layers) continue;
      const layers = [...content.layers.values()];
      for (const layer of layers) {
        different ||= layer.visible !== shown.has(layer);
        layer.visible = shown.has(layer);
      }
      if (this.#choice - this.#wanted.get(file) > LATELY && !layers.some((layer) => layer.visible)) {
        for (const layer of layers) layer.remove();
        this.#files[file] = null;
      }
    }
    if (covered || this.done) this.#resolve(covered);
    if (different) this.#changed();
  }
}

/** The files of a SOG folder: name -> bytes. Names lead nowhere but beside the meta.json. */
async function sogFiles(url) {
  const text = await bytesOf(url);
  const meta = JSON.parse(new TextDecoder().decode(text));
  const names = Object.values(meta).flatMap((part) => part?.files ?? []);
  if (!names.every((name) => /^[\w.-]+$/.test(name))) throw new Error(`${url}: names a file elsewhere`);
  const pictures = await Promise.all(names.map((name) => bytesOf(new URL(name, url))));
  return { "meta.json": text, ...Object.fromEntries(names.map((name, i) => [name, pictures[i]])) };
}

async function bytesOf(url) {
  const response = await fetch(url);
  if (!response.ok) throw new Error(`${url}: ${response.status}`);
  return new Uint8Array(await response.arrayBuffer());
}
