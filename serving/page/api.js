/** The service as this page uses it: requests, what went wrong in words, and patience while it is busy. */

const TOKEN_KEY = "stylecap.token";
export const MOST_TRIES = 4;
const LONGEST_WAIT = 30;

/** What the service, or the way to it, answered instead of a result. */
export class Fault extends Error {
  constructor(code, message, { status = 0, retryAfter = null } = {}) {
    super(message);
    this.code = code;
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

const ADVICE = {
  network: "See that finetune.py serve still runs and that this device reaches it, then try again.",
  unauthorized: "Enter the token above.",
  too_large: "Even a smaller copy is more than the service takes. Save the picture smaller, and drop it again.",
  picture_too_large:
    "Even a smaller copy is more than the service takes. Save the picture smaller, and drop it again.",
  not_a_picture: "Save it as JPEG or PNG, and drop it again.",
  unknown_style: "Choose another style, or another model.",
  busy: "Others are being served. Wait a moment, then try again.",
  draining: "The service is stopping or starting anew. Try again in a moment.",
  timeout: "Ask for fewer styles or captions at once, or try again when less is going on.",
  internal: "Try again; if it comes back, the service's log says more.",
};

/** What can be done about a fault; "" where the message says it. */
export const adviceFor = (fault) => ADVICE[fault.code] ?? "";

// For this tab alone: a token is a secret, and localStorage would keep it for years.
export const setToken = (token) => sessionStorage.setItem(TOKEN_KEY, token);
export const hasToken = () => Boolean(sessionStorage.getItem(TOKEN_KEY));

/**
 * The JSON that a path of the service answers.
 *
 * `content` is an object, sent as JSON, a FormData, or null for GET. Throws Fault, and AbortError once `signal` aborts.
 */
export async function call(path, content = null, signal = undefined) {
  const headers = { accept: "application/json" };
  const token = sessionStorage.getItem(TOKEN_KEY);
  if (token) headers.authorization = `Bearer ${token}`;
  const isForm = content instanceof FormData;
  if (content && !isForm) headers["content-type"] = "application/json";
  const request = {
    method: content ? "POST" : "GET",
    headers,
    signal,
    body: content && !isForm ? JSON.stringify(content) : content,
  };
  const response = await reaching(() => fetch(path, request));
  const answer = await reaching(() => response.text());
  if (!response.ok) throw faultOf(response, answer);
  try {
    return JSON.parse(answer);
  } catch {
    throw new Fault("network", "What answers at this address is not the service.", { status: response.status });
  }
}

async function reaching(step) {
  try {
    return await step();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Fault("network", "The service does not answer.");
  }
}

function faultOf(response, answer) {
  const seconds = Number.parseFloat(response.headers.get("retry-after"));
  const about = { status: response.status, retryAfter: Number.isFinite(seconds) ? Math.max(0, seconds) : null };
  try {
    const { code, message } = JSON.parse(answer).error;
    return new Fault(String(code), sentence(String(message)), about);
  } catch {
    return new Fault(nameOf(response.status), `The service answered ${response.status}.`, about);
  }
}

const sentence = (words) => `${words.charAt(0).toUpperCase()}${words.slice(1)}${/[.!?]$/.test(words) ? "" : "."}`;

/** Something between page and service, such as a proxy, answers without the service's form of errors. */
function nameOf(status) {
  const names = {
    401: "unauthorized",
    413: "too_large",
    415: "not_a_picture",
    429: "busy",
    502: "network",
    503: "draining",
    504: "timeout",
  };
  return names[status] ?? (status >= 500 ? "internal" : "bad_request");
}

/**
 * What `ask` answers, asked again while the service says that it is busy, at most MOST_TRIES times in all.
 *
 * Between two tries it waits as long as the service asks for, LONGEST_WAIT seconds at most, and counts down by
 * `onWait(seconds, nextTry)`.
 */
export async function patiently(ask, signal, onWait) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await ask();
    } catch (fault) {
      const passing = fault.code === "busy" || (fault.code === "draining" && fault.retryAfter !== null);
      if (!passing || attempt === MOST_TRIES) throw fault;
      await countDown(Math.min(Math.ceil(fault.retryAfter ?? 2 ** attempt), LONGEST_WAIT), signal, (left) =>
        onWait(left, attempt + 1),
      );
    }
  }
}

async function countDown(seconds, signal, onSecond) {
  for (let left = seconds; left > 0; left -= 1) {
    onSecond(left);
    await pause(1000, signal);
  }
}

/** Waits, or throws AbortError as soon as `signal` aborts. */
function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    signal?.addEventListener("abort", stop, { once: true });
  });
}
