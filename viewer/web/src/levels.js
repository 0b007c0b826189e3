// Which level of detail each leaf of a streamed scene is drawn in: pure numbers, no files and no drawing.
//
// The tree is that of a streamed SOG (`lod-meta.json`): leaves with a box each, and for some of the levels, 0 the finest,
// where their Gaussians lie: {file, offset, count}.

const BEHIND = 0.3; // how much a leaf counts that is not in view
const FINE = 0.7; // pixels between Gaussians below which finer ones would not be seen

/** The leaves of a tree: {centre, radius, lods: [{level, file, offset, count}], the coarsest first}. */
export function leavesOf({ tree, filenames }) {
  const leaves = [];
  const waiting = [tree];
  while (waiting.length) {
    const node = waiting.pop();
    if (node.children) {
      waiting.push(...node.children);
      continue;
    }
    const lods = Object.entries(node.lods ?? {}).map(([level, { file, offset, count }]) => ({ level: Number(level), file, offset, count }));
    const whole = lods.every(({ file, offset, count }) => filenames[file] !== undefined && offset >= 0 && count > 0);
    if (!whole) throw new Error("lod-meta.json is damaged: a leaf lies outside of its files");
    const { min, max } = node.bound;
    const centre = min.map((value, i) => (value + max[i]) / 2);
    const radius = Math.hypot(...min.map((value, i) => max[i] - value)) / 2;
    if (lods.length) leaves.push({ centre, radius, lods: lods.sort((a, b) => b.level - a.level) });
  }
  return leaves;
}

/**
 * The wanted lod of each leaf, as an index into its `lods`: beginning with the coarsest, the leaf whose Gaussians lie
 * farthest apart on the screen is refined until the budget is spent or nothing would be seen of it.
 *
 * `eye` and `forward` are in the frame of the tree, `pixels` is the focal length of the window, `budget` a number of
 * Gaussians.
 */
export function choose(leaves, { eye, forward, pixels, budget }) {
  const chosen = leaves.map(() => 0);
  let spent = leaves.reduce((sum, { lods }) => sum + lods[0].count, 0);
  const gap = (i) => {
    const { centre, radius, lods } = leaves[i];
    const away = centre.map((value, axis) => value - eye[axis]);
    const distance = Math.max(Math.hypot(...away) - radius, 0.05 * radius, 1e-9);
    const ahead = away.reduce((sum, value, axis) => sum + value * forward[axis], 0) > -radius;
    return ((ahead ? 1 : BEHIND) * pixels * radius) / Math.sqrt(lods[chosen[i]].count) / distance;
  };
  const heap = new Heap();
  for (const i of leaves.keys()) heap.push(gap(i), i);
  while (heap.size) {
    const [apart, i] = heap.pop();
    if (apart < FINE) break;
    const { lods } = leaves[i];
    const finer = chosen[i] + 1;
    if (finer >= lods.length) continue;
    const more = lods[finer].count - lods[chosen[i]].count;
    if (spent + more > budget) continue;
    spent += more;
    chosen[i] = finer;
    heap.push(gap(i), i);
  }
  return chosen;
}

/** What to draw meanwhile: the wanted lod if its file is there, else the next coarser one, else a finer one, or -1. */
export function available({ lods }, wanted, here) {
  for (let i = wanted; i >= 0; i--) if (here(lods[i].file)) return i;
  for (let i = wanted + 1; i < lods.length; i++) if (here(lods[i].file)) return i;
  return -1;
}

/** Largest first. */
class Heap {
  #items = [];

  get size() {
    return this.#items.length;
  }

  push(key, value) {
    const items = this.#items;
    let i = items.push([key, value]) - 1;
    while (i && items[(i - 1) >> 1][0] < key) {
      items[i] = items[(i - 1) >> 1];
      i = (i - 1) >> 1;
    }
    items[i] = [key, value];
  }

  pop() {
    const items = this.#items;
    const [top, last] = [items[0], items.pop()];
    if (items.length) {
      let i = 0;
      for (;;) {
        let child = 2 * i + 1;
        if (child >= items.length) break;
        if (child + 1 < items.length && items[child + 1][0] > items[child][0]) child++;
        if (items[child][0] <= last[0]) break;
        items[i] = items[child];
        i = child;
      }
      items[i] = last;
    }
    return top;
  }
}
