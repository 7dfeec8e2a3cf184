/** A picture with its captions as a card to show around (PNG), or as data (JSON). */

import { download, hueOf } from "./dom.js";

const WIDTH = 720;
const MARGIN = 36;
const MOST_PICTURE_HEIGHT = 620;
const DENSITY = 2;
// Browsers refuse to make pictures of more than some 16,000 pixels.
const MOST_LINES = 40;
const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif';

/** Name of a picture's card: `beach/0412.jpg` gives `0412.png`. */
export const cardName = (image, ending) => `${/([^\\/]*?)(\.[^.\\/]*)?$/.exec(image)[1] || "captions"}.${ending}`;

/** Saves, as `form` (png, json), the captions of a card that are kept, or all where none is. */
export function share(card, form) {
  const all = card.lines();
  const good = all.filter((line) => line.kept);
  const lines = good.length ? good : all;
  if (form === "png") sharePng(card.picture, lines.slice(0, MOST_LINES), lines.length - MOST_LINES);
  else shareJson(card, lines);
}

/** Captions with how they came about; of a changed one also what the model wrote. */
function shareJson(card, lines) {
  const captions = lines.map(({ caption, text }) => ({
    ...caption,
    text,
    ...(text === caption.text ? {} : { written: caption.text }),
  }));
  const seconds = Object.fromEntries(card.seconds());
  const content = JSON.stringify({ image: card.picture.name, options: card.asked, seconds, captions }, null, 2);
  download(new Blob([`${content}\n`], { type: "application/json" }), cardName(card.picture.name, "json"));
}

/** Always light, whatever the page is: it goes into documents and chats. Models are named if there are several. */
async function sharePng(picture, lines, more) {
  const bitmap = await createImageBitmap(picture.file).catch(() => null);
  const canvas = document.createElement("canvas");
  const drawing = canvas.getContext("2d");
  const inner = WIDTH - 2 * MARGIN;
  const scale = bitmap ? Math.min(inner / bitmap.width, MOST_PICTURE_HEIGHT / bitmap.height) : 0;
  const shown = bitmap ? { width: bitmap.width * scale, height: bitmap.height * scale } : { width: 0, height: 0 };
  const several = new Set(lines.map((line) => line.caption.model)).size > 1;
  const blocks = lines.map((line) => blockOf(drawing, line, inner, several));
  const height = MARGIN + shown.height + blocks.reduce((sum, block) => sum + block.height, 0) + 24 + MARGIN + 16;
  canvas.width = WIDTH * DENSITY;
  canvas.height = Math.ceil(height * DENSITY);
  drawing.scale(DENSITY, DENSITY);
  drawing.fillStyle = "#ffffff";
  drawing.fillRect(0, 0, WIDTH, height);
  if (bitmap) drawPicture(drawing, bitmap, shown);
  let top = MARGIN + shown.height + 24;
  for (const block of blocks) {
    drawBlock(drawing, block, top);
    top += block.height;
  }
  drawing.font = `600 13px ${FONT}`;
  drawing.fillStyle = "#b8325a";
  drawing.fillText(more > 0 ? `StyleCap, and ${more} more` : "StyleCap", MARGIN, height - MARGIN + 6);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  download(blob, cardName(picture.name, "png"));
}

function drawPicture(drawing, bitmap, { width, height }) {
  drawing.save();
  drawing.beginPath();
  drawing.roundRect((WIDTH - width) / 2, MARGIN, width, height, 12);
  drawing.clip();
  drawing.imageSmoothingQuality = "high";
  drawing.drawImage(bitmap, (WIDTH - width) / 2, MARGIN, width, height);
  drawing.restore();
  bitmap.close();
}

function blockOf(drawing, { text, caption }, width, several) {
  const { style, model } = caption;
  drawing.font = `22px ${FONT}`;
  const wrapped = wrap(text, width, (text) => drawing.measureText(text).width);
  return {
    hue: hueOf(style),
    title: several ? `${style} · ${model}` : style,
    wrapped,
    height: 34 + wrapped.length * 30 + 20,
  };
}

function drawBlock(drawing, { hue, title, wrapped }, top) {
  drawing.font = `600 14px ${FONT}`;
  const width = drawing.measureText(title).width + 22;
  drawing.fillStyle = `hsl(${hue} 60% 92%)`;
  drawing.beginPath();
  drawing.roundRect(MARGIN, top, width, 26, 13);
  drawing.fill();
  drawing.fillStyle = `hsl(${hue} 60% 30%)`;
  drawing.fillText(title, MARGIN + 11, top + 18);
  drawing.font = `22px ${FONT}`;
  drawing.fillStyle = "#1c1c1f";
  wrapped.forEach((line, place) => drawing.fillText(line, MARGIN, top + 56 + place * 30));
}

/** Lines of at most this width, cut between words; a word that is wider, or text without spaces, between characters. */
export function wrap(text, width, measure) {
  const lines = [""];
  for (const word of text.split(/\s+/)) {
    const joined = lines.at(-1) ? `${lines.at(-1)} ${word}` : word;
    if (measure(joined) <= width) {
      lines[lines.length - 1] = joined;
      continue;
    }
    if (lines.at(-1)) lines.push("");
    for (const letter of word) {
      if (measure(lines.at(-1) + letter) > width) lines.push("");
      lines[lines.length - 1] += letter;
    }
  }
  return lines;
}
