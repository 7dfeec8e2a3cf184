/** Files that people drop, choose or paste, and smaller copies of them. */

const THUMBNAIL_PIXELS = 112;
const COMPLETION_PIXELS = 640;
const SHRUNK_PIXELS = 2048;
const SMALL_BYTES = 150_000;

/**
 * A picture of a file: `{name, file, url, fingerprint, pasted}`.
 *
 * The fingerprint tells pictures apart that have the same name; it is no protection against forgery. crypto.subtle is
 * missing where the page comes by http from another machine.
 */
export async function readPicture(file, pasted) {
  const bytes = new Uint8Array(await file.arrayBuffer());
  const fingerprint = `${bytes.length.toString(36)}-${fnv(bytes).toString(36)}`;
  // A browser calls everything that is pasted image.png.
  const name = pasted
    ? `pasted-${fingerprint}.${file.type.split("/")[1]?.replace("jpeg", "jpg") ?? "png"}`
    : file.name;
  return { name, file, url: URL.createObjectURL(file), fingerprint, pasted };
}

/** FNV-1a of 32 bits. */
function fnv(bytes) {
  let hash = 0x811c9dc5;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193);
  return hash >>> 0;
}

export const isPicture = (file) => file.type.startsWith("image/");

/** The copy that is sent where the picture itself is more than the service takes; null if it cannot be made smaller. */
export async function shrunk(picture) {
  const copy = await scaled(picture.file, SHRUNK_PIXELS, "image/jpeg", 0.92).catch(() => null);
  return copy && copy.size < picture.file.size ? copy : null;
}

/** A data URL for the list of kept captions, some kilobytes; "" where this browser cannot show the picture. */
export async function thumbnail(picture) {
  try {
    return await dataUrl(await scaled(picture.file, THUMBNAIL_PIXELS, "image/jpeg", 0.72));
  } catch {
    return "";
  }
}

/** The picture as base64 for completions: large ones as a smaller copy, since it goes with every pause in typing. */
export function forCompletion(picture) {
  picture.completion ??= (async () => {
    const small = picture.file.size <= SMALL_BYTES;
    const copy = small
      ? picture.file
      : await scaled(picture.file, COMPLETION_PIXELS, "image/jpeg", 0.9).catch(() => picture.file);
    return (await dataUrl(copy)).split(",")[1];
  })();
  return picture.completion;
}

async function scaled(file, longest, type, quality) {
  const bitmap = await createImageBitmap(file);
  const factor = Math.min(1, longest / Math.max(bitmap.width, bitmap.height));
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * factor));
  canvas.height = Math.max(1, Math.round(bitmap.height * factor));
  const drawing = canvas.getContext("2d");
  // JPEG has no transparency: what would turn black is white, as most programs show it.
  drawing.fillStyle = "#fff";
  drawing.fillRect(0, 0, canvas.width, canvas.height);
  drawing.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no memory for the copy"))), type, quality);
  });
}

function dataUrl(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}
