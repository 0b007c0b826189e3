// The part of the address after '#': `camera=3` is the fourth camera of the page, `view=` a pose and a lens in the
// scene's frame: fx,fy,cx,cy,width,height and the twelve numbers of camera-to-scene by rows.

const NUMBERS = 18;

/** {camera}, {c2w, intrinsics, size} or null. */
export function parse(hash, cameras) {
  const parameters = new URLSearchParams(hash.replace(/^#/, ""));
  if (parameters.has("camera")) {
    const camera = Number(parameters.get("camera"));
    return Number.isInteger(camera) && camera >= 0 && camera < cameras ? { camera } : null;
  }
  const numbers = (parameters.get("view") ?? "").split(",").map(Number);
  if (numbers.length !== NUMBERS || !numbers.every(Number.isFinite)) return null;
  const [fx, fy, cx, cy, width, height] = numbers;
  if (!(fx > 0 && fy > 0 && width > 0 && height > 0)) return null;
  return { intrinsics: [fx, fy, cx, cy], size: [width, height], c2w: numbers.slice(6) };
}

/** The address of a view. */
export function format({ c2w, intrinsics, size }) {
  const numbers = [...intrinsics, ...size, ...c2w.slice(0, 12)];
  return `#view=${numbers.map((value) => String(Number(value.toPrecision(9)))).join(",")}`;
}
