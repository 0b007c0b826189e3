// The scene inside the page: a JSON block that describes it, and per level a run of blocks of base64 text that the
// browser may still be reading. A block is whole once something follows it.

/** What `write_page` said of the scene. */
export function description() {
  return JSON.parse(document.getElementById("scene").textContent);
}

/** The bytes of level `index`, when all of its blocks have arrived; `progress(bytes)` of what came so far. */
export async function levelBytes(index, { blocks, bytes }, progress) {
  const whole = new Uint8Array(bytes);
  let filled = 0;
  for (let i = 0; i < blocks; i++) {
    const part = decoded(await block(`level-${index}-${i}`));
    if (filled + part.length > bytes) throw new Error("this page is damaged: a level is longer than it says");
    whole.set(part, filled);
    filled += part.length;
    progress(filled);
  }
  if (filled !== bytes) throw new Error("this page is damaged: a level is shorter than it says");
  return whole;
}

/** The text of a block; the block is dropped, so that the page does not keep it twice. */
async function block(id) {
  for (;;) {
    const element = document.getElementById(id);
    if (element && (element.nextElementSibling || document.readyState !== "loading")) {
      const text = element.textContent;
      element.textContent = "";
      return text;
    }
    if (!element && document.readyState !== "loading") throw new Error("this page is cut off: download it again");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

function decoded(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let i = 0; i < bytes.length; i++) bytes[i] = characters.charCodeAt(i);
  return bytes;
}
