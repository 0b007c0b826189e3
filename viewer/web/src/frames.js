// The scene's frame and the page's. A scene has OpenCV axes (x right, y down, z forward); the page has three's (x
// right, y up, z back), its origin at the scene's centre, and a scale that suits the numbers of the file. Matrices
// here are flat and row first, as files hold them.

const SIGN = [1, -1, -1];

export class Frame {
  /** `centre` of the scene and `scale`, page units per scene unit, as the file gives them. */
  constructor({ centre, scale }) {
    this.centre = centre;
    this.scale = scale;
  }

  /** A point of the scene in the page. */
  point(p) {
    return p.map((value, i) => SIGN[i] * this.scale * (value - this.centre[i]));
  }

  /** A point of the page in the scene. */
  scenePoint(p) {
    return p.map((value, i) => (SIGN[i] * value) / this.scale + this.centre[i]);
  }

  /** A direction, either way. */
  direction(d) {
    return d.map((value, i) => SIGN[i] * value);
  }

  /** Camera to scene, 12 or 16 numbers by rows -> {position, rotation}: rotation has 9 numbers by rows. */
  pose(c2w) {
    const rotation = [];
    for (let row = 0; row < 3; row++) {
      for (let column = 0; column < 3; column++) rotation.push(SIGN[row] * SIGN[column] * c2w[4 * row + column]);
    }
    return { position: this.point([c2w[3], c2w[7], c2w[11]]), rotation };
  }

  /** The inverse of `pose`: 12 numbers by rows. */
  c2w({ position, rotation }) {
    const at = this.scenePoint(position);
    const rows = [];
    for (let row = 0; row < 3; row++) {
      for (let column = 0; column < 3; column++) rows.push(SIGN[row] * SIGN[column] * rotation[3 * row + column]);
      rows.push(at[row]);
    }
    return rows;
  }
}
