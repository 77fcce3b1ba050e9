// The page: a socket that brings pictures, a list of targets, and what a person asks for.

import { COLOURS, Picture } from "./picture.js";

const STRIP_S = 60;
const $ = (id) => document.getElementById(id);
const page = { camera: null, socket: null, strips: table(), states: table(), rechoosing: null, now: 0 };
const picture = new Picture($("picture"), choose, (is) => ($("proposal").hidden = !is));

$("smaller").onclick = () => picture.resize(1 / 1.15);
$("larger").onclick = () => picture.resize(1.15);
$("follow").onclick = () => picture.follow();
$("cancel").onclick = () => picture.cancel();
$("camera").onchange = () => watch($("camera").value);

start();

async function start() {
  let answer;
  try {
    answer = await (await fetch("api/cameras")).json();
  } catch {
    answer = { error: "the page does not answer" };
  }
  if (!answer.cameras?.length) {
    say(answer.error ?? "There is no camera yet.");
    setTimeout(start, 2000);
    return;
  }
  say("");
  $("camera").replaceChildren(...answer.cameras.map(({ name }) => new Option(name, name)));
  $("choice").hidden = answer.cameras.length < 2;
  const names = answer.cameras.map(({ name }) => name);
  if (!names.includes(page.camera)) {
    watch(names.find((name) => location.hash.slice(1) === encodeURIComponent(name)) ?? names[0]);
    return;
  }
  $("camera").value = page.camera;
  if (page.socket.readyState > WebSocket.OPEN) connect();
}

function watch(camera) {
  page.camera = camera;
  $("camera").value = camera;
  if ($("choice").hidden === false) location.hash = encodeURIComponent(camera);
  page.strips = table();
  page.states = table();
  picture.cancel();
  page.socket?.close();
  connect();
}

function connect() {
  const { camera } = page;
  const url = new URL(`api/cameras/${encodeURIComponent(camera)}/live`, location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  url.hash = "";
  const socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  page.socket = socket;
  let busy = false, waiting = null;
  socket.onmessage = async ({ data }) => {
    waiting = data; // while one is decoded, only the newest waits
    if (busy) return;
    busy = true;
    try {
      while (waiting && page.socket === socket) {
        const next = waiting;
        waiting = null;
        await receive(next);
      }
    } finally {
      busy = false;
    }
  };
  socket.onclose = () => {
    if (page.socket !== socket) return;
    source({ state: "away", reason: "the page has lost its connection; it tries again" });
    setTimeout(() => page.socket === socket && start(), 1500); // it may be another process, with other cameras
  };
}

async function receive(data) {
  const length = new DataView(data).getUint32(0);
  const told = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  page.now = told.now;
  if (told.strips) {
    page.strips = Object.assign(table(), told.strips);
    return;
  }
  if (told.status) figures(told.status);
  if (data.byteLength === 4 + length) return;
  const image = await createImageBitmap(new Blob([new Uint8Array(data, 4 + length)], { type: "image/jpeg" }));
  picture.show(image, told);
  note(told);
  list(told.tracks);
}

function figures(status) {
  source(status);
  $("fps").textContent = status.fps.toFixed(1);
  $("latency").textContent = status.latency_ms === null ? "–" : `${status.latency_ms} ms`;
  $("dropped").textContent = status.dropped;
  $("reconnects").textContent = status.reconnects;
  $("turns").hidden = status.turns < 1.5;
  $("turns").textContent = `More targets than time: each is updated every ${status.turns.toFixed(1)} frames.`;
}

function source({ source: name = "", state, reason }) {
  const words = { live: "live", away: "away", connecting: "connecting", ended: "ended", waiting: "waiting for a target" };
  const why = reason?.replace(`${name} `, ""); // it names the source itself
  const text = [name, words[state] ?? state].filter(Boolean).join(": ") + (why ? ` (${why})` : "");
  if ($("source").textContent !== text) $("source").textContent = text;
  $("source").classList.toggle("away", state === "away");
}

function note({ tracks, now }) {
  const names = new Set(tracks.map((track) => track.target));
  for (const { target, confidence, state } of tracks) {
    const strip = (page.strips[target] ??= []);
    if (!strip.length || now - strip.at(-1)[0] >= 0.5) strip.push([now, confidence, state]);
    while (strip.length && now - strip[0][0] > STRIP_S) strip.shift();
    if (page.states[target] && page.states[target] !== state) tell(`${target} is ${state}`);
    page.states[target] = state;
  }
  for (const gone of Object.keys(page.states).filter((name) => !names.has(name))) {
    delete page.states[gone];
    delete page.strips[gone];
  }
}

function list(tracks) {
  $("none").hidden = tracks.length > 0;
  const items = new Map([...$("targets").children].map((item) => [item.dataset.target, item]));
  for (const track of tracks) {
    const item = items.get(track.target) ?? added(track.target);
    items.delete(track.target);
    item.querySelector(".mark").style.background = COLOURS[track.state];
    const state = item.querySelector(".state");
    state.textContent = track.state;
    state.style.color = `var(--${track.state})`;
    item.querySelector(".confidence").textContent = `${Math.round(track.confidence * 100)} %`;
    strip(item.querySelector(".strip"), page.strips[track.target] ?? []);
  }
  for (const gone of items.values()) gone.remove();
}

function added(target) {
  const item = $("target").content.firstElementChild.cloneNode(true);
  const part = (name) => item.querySelector(name);
  item.dataset.target = target;
  part(".name").textContent = target;
  part(".strip").setAttribute("aria-label", `Confidence of ${target} over the last minute`);
  for (const [name, what] of [[".rechoose", "Choose again"], [".rename", "Rename"], [".drop", "Drop"]])
    part(name).setAttribute("aria-label", `${what}: ${target}`);
  part(".drop").onclick = () => ask("DELETE", target);
  part(".rechoose").onclick = () => rechoose(page.rechoosing === target ? null : target);
  part(".rename").onclick = () => {
    part(".naming").hidden = false;
    part(".name").hidden = true;
    part("input").value = target;
    part("input").select();
  };
  const done = () => {
    part(".naming").hidden = true;
    part(".name").hidden = false;
    part(".rename").focus();
  };
  part("input").onkeydown = (event) => {
    if (event.key === "Escape") done();
  };
  part(".naming").onsubmit = async (event) => {
    event.preventDefault();
    const name = part("input").value.trim();
    if (await ask("PATCH", target, { name })) {
      page.strips[name] = page.strips[target];
      if (page.rechoosing === target) rechoose(name);
    }
    done();
  };
  $("targets").append(item);
  return item;
}

function rechoose(target) {
  page.rechoosing = target;
  for (const item of $("targets").children)
    item.querySelector(".rechoose").setAttribute("aria-pressed", item.dataset.target === target);
  $("hint").textContent = target
    ? `Drag a box around ${target}, or tap on it.`
    : "Drag a box around what is to be followed, or tap on it.";
  if (target) $("picture").focus();
}

async function choose(box, index) {
  const target = page.rechoosing;
  const answer = target ? await ask("PUT", target, { box, index }) : await ask("POST", null, { box, index });
  if (answer) {
    tell(`${answer.target ?? target} is followed`);
    rechoose(null);
  }
}

async function ask(method, target, wish) {
  const path = `api/cameras/${encodeURIComponent(page.camera)}/targets` + (target ? `/${encodeURIComponent(target)}` : "");
  const body = wish && JSON.stringify(wish);
  let answer;
  try {
    const response = await fetch(path, { method, body, headers: wish && { "Content-Type": "application/json" } });
    answer = await response.json();
  } catch {
    answer = { error: "the page does not answer" };
  }
  say(answer.error ?? "");
  return answer.error ? null : answer;
}

function strip(canvas, values) {
  const pen = canvas.getContext("2d");
  const { width, height } = canvas;
  pen.clearRect(0, 0, width, height);
  const step = (0.55 / STRIP_S) * width;
  for (const [when, confidence, state] of values) {
    const x = width * (1 - (page.now - when) / STRIP_S);
    const tall = Math.max(confidence * height, 1);
    pen.fillStyle = COLOURS[state];
    pen.fillRect(x - step, height - tall, step, tall);
  }
}

// By names that people give: an object's own, "constructor" for one, are no entries of it.
function table() {
  return Object.create(null);
}

function tell(text) {
  $("news").textContent = text;
}

function say(text) {
  $("message").textContent = text;
}
