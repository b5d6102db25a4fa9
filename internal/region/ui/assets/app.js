// Makes pages livelier; every page works without it. Four jobs: keep what is shown up to date, show the power
// parameters of the chosen type only, ask for passkeys, and upload images in pieces with a progress bar.
"use strict";

// ---- Live parts -------------------------------------------------------------------------------------------
// An element with data-live="NOUN" is fetched again when an object of the noun changes, and every data-every
// seconds, for what changes without notice. data-fragment names its address; without one it is cut out of the
// whole page. data-rows="/machines/" replaces single rows by their own address.

const live = [...document.querySelectorAll("[data-live]")];

async function load(url) {
  const answer = await fetch(url, { credentials: "same-origin", redirect: "manual" });
  // The login has ended: loading the page anew leads to the login page and back.
  if (answer.type === "opaqueredirect" || answer.status === 401) { location.reload(); }
  return answer.ok ? answer.text() : null;
}

// A page that nobody uses must not keep its login alive by refreshing itself.
const patience = 15 * 60 * 1000; // milliseconds
let used = Date.now();
const paused = () => Date.now() - used > patience;

// swap puts new content into an element, unless somebody is using what is there.
function swap(element, html) {
  if (html === null || html === element.lastHTML) { return; }
  const picked = document.getSelection();
  if (picked && !picked.isCollapsed && element.contains(picked.anchorNode)) { return; }
  if (element.contains(document.activeElement) && document.activeElement.matches("input, select, textarea, button")) { return; }
  const opened = new Map([...element.querySelectorAll("details[id]")].map((d) => [d.id, d.open]));
  const focused = element.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  element.lastHTML = html;
  element.innerHTML = html; // from our own server, escaped there; the policy runs nothing inline
  for (const d of element.querySelectorAll("details[id]")) {
    if (opened.has(d.id)) { d.open = opened.get(d.id); }
  }
  if (focused) { [...element.querySelectorAll("a[href]")].find((a) => a.getAttribute("href") === focused)?.focus(); }
}

async function refresh(element) {
  if (paused()) { return pause(); }
  if (element.busy || document.hidden) { element.late = document.hidden; return; }
  element.busy = true;
  try {
    if (element.dataset.fragment) {
      swap(element, await load(element.dataset.fragment));
    } else {
      const page = await load(location.href);
      const there = page && new DOMParser().parseFromString(page, "text/html").getElementById(element.id);
      if (there) { swap(element, there.innerHTML); }
    }
  } catch { /* the region is away: the next round tries again */ } finally { element.busy = false; }
}

async function refreshRow(element, id) {
  const row = document.getElementById("m-" + id);
  if (!row || !element.contains(row)) { return refresh(element); }
  try {
    const html = await load(element.dataset.rows + encodeURIComponent(id) + "/row");
    if (html === null) { return refresh(element); }
    const made = document.createElement("template");
    made.innerHTML = html;
    element.lastHTML = undefined;
    row.replaceWith(made.content);
  } catch { /* as above */ }
}

let source = null;

function pause() {
  source?.close();
  if (!source || document.getElementById("paused")) { return; }
  const note = document.createElement("p");
  note.id = "paused";
  note.className = "notice held";
  note.textContent = "This page was not used for a while and shows an old state. It goes on when you move the mouse or press a key.";
  live[0].before(note);
}

function use() {
  const again = paused();
  used = Date.now();
  if (again) {
    document.getElementById("paused")?.remove();
    listen();
    live.forEach(refresh);
  }
}

const due = new Map();

function listen() {
  source = new EventSource("/events");
  source.onmessage = (message) => {
    const { noun, id } = JSON.parse(message.data);
    for (const element of live) {
      if (element.dataset.live !== noun || element.dataset.id && element.dataset.id !== id) { continue; }
      const key = element.id + " " + id;
      if (due.has(key)) { continue; } // many changes at once are one refresh
      due.set(key, setTimeout(() => {
        due.delete(key);
        if (element.dataset.rows) { refreshRow(element, id); } else { refresh(element); }
      }, 150));
    }
  };
}

if (live.length > 0) {
  for (const element of live) {
    setInterval(() => refresh(element), 1000 * (Number(element.dataset.every) || 10));
  }
  document.addEventListener("visibilitychange", () => live.filter((e) => e.late).forEach(refresh));
  for (const kind of ["pointermove", "pointerdown", "keydown", "wheel"]) { addEventListener(kind, use, { passive: true }); }
  listen();
  addEventListener("pagehide", () => source.close());
  addEventListener("pageshow", (event) => { if (event.persisted) { listen(); live.forEach(refresh); } });
}

// ---- Forms ------------------------------------------------------------------------------------------------

for (const choice of document.querySelectorAll("[data-switch=power]")) {
  const show = () => {
    for (const set of document.querySelectorAll("[data-power]")) { set.hidden = set.dataset.power !== choice.value; }
  };
  choice.addEventListener("change", show);
  show();
}

document.addEventListener("submit", (event) => {
  const question = event.target.dataset.confirm;
  if (question && !confirm(question)) { event.preventDefault(); }
});

// ---- Passkeys ---------------------------------------------------------------------------------------------
// A form with data-passkey="get" or "create" asks the browser for a passkey and sends its answer in the field
// "passkey". Bytes travel as base64url. Source: WebAuthn Level 3, section 5.1.8.

const toBytes = (text) => Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
const toText = (bytes) => btoa(String.fromCharCode(...new Uint8Array(bytes))).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

async function askPasskey(kind, question) {
  question.challenge = toBytes(question.challenge);
  for (const c of [...(question.allowCredentials ?? []), ...(question.excludeCredentials ?? [])]) { c.id = toBytes(c.id); }
  if (question.user) { question.user.id = toBytes(question.user.id); }
  const made = await navigator.credentials[kind]({ publicKey: question });
  const response = {};
  for (const name of ["clientDataJSON", "attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (made.response[name]) { response[name] = toText(made.response[name]); }
  }
  return JSON.stringify({ id: made.id, rawId: toText(made.rawId), type: made.type, response, clientExtensionResults: {} });
}

for (const form of document.querySelectorAll("form[data-passkey]")) {
  form.addEventListener("submit", async (event) => {
    if (form.elements.passkey.value) { return; }
    event.preventDefault();
    const problem = form.querySelector("[role=alert]");
    problem.textContent = "";
    try {
      form.elements.passkey.value = await askPasskey(form.dataset.passkey, JSON.parse(form.dataset.question));
      form.submit();
    } catch (error) { problem.textContent = "The browser did not use a passkey: " + error.message; }
  });
}

// ---- Upload -----------------------------------------------------------------------------------------------

const piece = 4 * 1024 * 1024;

// Sha256 digests a stream piece by piece, which the browser's own digest cannot. Source: FIPS 180-4.
class Sha256 {
  static k = (() => {
    const k = [];
    for (let n = 2; k.length < 64; n++) {
      let prime = true;
      for (let d = 2; d * d <= n; d++) { if (n % d === 0) { prime = false; break; } }
      if (prime) { k.push(Math.floor((Math.cbrt(n) % 1) * 2 ** 32) | 0); }
    }
    return new Int32Array(k);
  })();

  constructor() {
    this.h = new Int32Array([0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19]);
    this.w = new Int32Array(64);
    this.rest = new Uint8Array(0);
    this.length = 0;
  }

  // block mixes in the 64 bytes at a place.
  block(bytes, at) {
    const { h, w } = this, k = Sha256.k;
    for (let i = 0; i < 16; i++, at += 4) { w[i] = bytes[at] << 24 | bytes[at + 1] << 16 | bytes[at + 2] << 8 | bytes[at + 3]; }
    for (let i = 16; i < 64; i++) {
      const x = w[i - 15], y = w[i - 2];
      const s0 = (x >>> 7 | x << 25) ^ (x >>> 18 | x << 14) ^ x >>> 3;
      const s1 = (y >>> 17 | y << 15) ^ (y >>> 19 | y << 13) ^ y >>> 10;
      w[i] = w[i - 16] + s0 + w[i - 7] + s1 | 0;
    }
    let a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], z = h[7];
    for (let i = 0; i < 64; i++) {
      const t1 = z + ((e >>> 6 | e << 26) ^ (e >>> 11 | e << 21) ^ (e >>> 25 | e << 7)) + (e & f ^ ~e & g) + k[i] + w[i] | 0;
      const t2 = ((a >>> 2 | a << 30) ^ (a >>> 13 | a << 19) ^ (a >>> 22 | a << 10)) + (a & b ^ a & c ^ b & c) | 0;
      z = g; g = f; f = e; e = d + t1 | 0; d = c; c = b; b = a; a = t1 + t2 | 0;
    }
    h[0] += a; h[1] += b; h[2] += c; h[3] += d; h[4] += e; h[5] += f; h[6] += g; h[7] += z;
  }

  update(bytes) {
    this.length += bytes.length;
    if (this.rest.length > 0) {
      const joined = new Uint8Array(this.rest.length + bytes.length);
      joined.set(this.rest);
      joined.set(bytes, this.rest.length);
      bytes = joined;
    }
    let at = 0;
    for (; at + 64 <= bytes.length; at += 64) { this.block(bytes, at); }
    this.rest = bytes.slice(at);
  }

  hex() {
    const length = this.length, pad = new Uint8Array((this.rest.length < 56 ? 64 : 128) - this.rest.length);
    pad[0] = 0x80;
    new DataView(pad.buffer).setUint32(pad.length - 8, Math.floor(length / 2 ** 29));
    new DataView(pad.buffer).setUint32(pad.length - 4, length * 8 % 2 ** 32);
    this.update(pad);
    return [...this.h].map((x) => (x >>> 0).toString(16).padStart(8, "0")).join("");
  }
}

async function call(method, url, body) {
  const answer = await fetch(url, { method, body, credentials: "same-origin", headers: { Accept: "application/json" }, redirect: "error" });
  const said = await answer.json();
  if (!answer.ok) { throw new Error(said.error || "The upload was refused."); }
  return said;
}

for (const form of document.querySelectorAll("form[data-upload]")) {
  for (const part of form.querySelectorAll("[data-without-script]")) { part.hidden = true; }
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const file = form.elements.file.files[0], box = form.querySelector(".upload"), button = form.querySelector("button");
    const bar = box.querySelector("progress"), text = box.querySelector("p");
    const tell = (what, part) => { bar.value = 100 * part; text.textContent = what + " " + Math.floor(100 * part) + " %"; };
    const leaving = (e) => e.preventDefault();
    box.hidden = false;
    button.disabled = true;
    addEventListener("beforeunload", leaving);
    try {
      const fields = new URLSearchParams();
      for (const name of ["name", "title", "filetype", "sha256"]) { fields.set(name, form.elements[name].value.trim()); }
      fields.set("size", file.size);
      if (!fields.get("sha256")) {
        const sum = new Sha256();
        for (let at = 0; at < file.size; at += piece) {
          sum.update(new Uint8Array(await file.slice(at, at + piece).arrayBuffer()));
          tell("Computing the SHA-256:", Math.min(1, (at + piece) / file.size));
        }
        fields.set("sha256", sum.hex());
        form.elements.sha256.value = fields.get("sha256");
      }
      let state = await call("POST", form.dataset.upload, fields);
      while (!state.complete) {
        tell("Uploading:", state.received / file.size);
        state = await call("PUT", form.dataset.upload + "/" + state.id + "/data", file.slice(state.received, state.received + piece));
      }
      removeEventListener("beforeunload", leaving);
      location.href = "/images?notice=uploaded";
    } catch (problem) {
      text.textContent = problem.message;
      button.disabled = false;
      removeEventListener("beforeunload", leaving);
    }
  });
}
