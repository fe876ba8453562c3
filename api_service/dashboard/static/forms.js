// Sends forms to the API's own operations as JSON, and shows what they answer.
//
//   <form data-operation="POST /v1/budgets" data-then="/budgets/{id}">
//
// Names with dots become nested fields. Each field says by data-as how it is sent: text (as it stands),
// integer, decimal (its text), boolean, list (a checked box's value), lines, commas, moment. An empty field is
// left out, unless data-if-empty says "send" or "null".
// data-then: an address ({id} is a field of the answer), "reload", "#id" (show that instead of the form),
// "fragment:name" (an address of ours that the page's fragment holds). Whatever it is, `modeltrack:done` is
// dispatched on the form with {answer, status}. data-afterwards: words that the next page says.

const NETWORK_WORDS = "The answer did not arrive. Check the connection and try again; nothing is done twice.";
const CODE_STEP = "/second-factor";
const SET_UP_CODES = "/profile";

function randomKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID is there over https only
  return Array.from(bytes, (each) => each.toString(16).padStart(2, "0")).join("");
}

export function fragmentField(name) {
  return new URLSearchParams(location.hash.slice(1)).get(name) ?? "";
}

export function ownAddress(wanted) {
  try {
    const url = new URL(wanted, location.origin);
    const path = url.pathname + url.search + url.hash;
    // read once more, as a browser will: /.//example.com is of ours, and //example.com, which comes of it, is not
    const isOwn = [url, new URL(path, location.origin)].every((each) => each.origin === location.origin);
    if (isOwn && wanted.startsWith("/")) return path;
  } catch {
    // not an address at all
  }
  return "/overview";
}

export async function ask(method, path, fields, { key, csrf } = {}) {
  const headers = { Accept: "application/json" };
  const token = csrf ?? document.querySelector('meta[name="csrf-token"]')?.content;
  if (token) headers["X-CSRF-Token"] = token;
  if (key && method === "POST") headers["Idempotency-Key"] = key;
  const options = { method, headers, credentials: "same-origin", cache: "no-store" };
  if (method !== "GET" && fields !== undefined) {
    headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(fields);
  }
  const response = await fetch(path, options);
  const text = await response.text();
  let answer = null;
  if (text && (response.headers.get("Content-Type") ?? "").includes("json")) answer = JSON.parse(text);
  return { status: response.status, isDone: response.ok, answer };
}

// ---- reading a form ------------------------------------------------------------------------------------

const READERS = {
  text: (text) => text,
  integer: (text) => (/^[+-]?\d{1,15}$/.test(text.trim()) ? Number(text) : text),
  // A comma that parts no thousands may be a decimal one: it goes as it is, and is refused.
  decimal: (text) => (/^[+-]?\d{1,3}(,\d{3})+(\.\d*)?$/.test(text.trim()) ? text.trim().replaceAll(",", "") : text.trim()),
  boolean: (text) => text === "true",
  lines: (text) => text.split("\n").map((each) => each.trim()).filter(Boolean),
  commas: (text) => text.split(",").map((each) => each.trim()).filter(Boolean),
  integers: (text) => text.split(/[\s,]+/).filter(Boolean).map((each) => READERS.integer(each)),
  moment: (text) => (Number.isNaN(Date.parse(text)) ? text : new Date(text).toISOString()),
};

function put(fields, name, value) {
  const parts = name.split(".");
  const last = parts.pop();
  let place = fields;
  for (const part of parts) place = place[part] ??= {};
  place[last] = value;
}

export function fieldsOf(form) {
  const fields = {};
  const lists = {};
  for (const control of form.elements) {
    if (!control.name || control.disabled || control.closest("[data-off]")) continue;
    const kind = control.dataset.as ?? "text";
    if (kind === "list") {
      lists[control.name] ??= [];
      if (control.checked) lists[control.name].push(control.value);
    } else if (control.type === "checkbox") {
      put(fields, control.name, control.checked);
    } else if (control.type === "radio") {
      if (control.checked) put(fields, control.name, (READERS[kind] ?? READERS.text)(control.value));
    } else {
      putText(fields, control, kind);
    }
  }
  for (const [name, values] of Object.entries(lists)) put(fields, name, values);
  return fields;
}

function putText(fields, control, kind) {
  const isEmpty = control.value.trim() === "";
  const ifEmpty = control.dataset.ifEmpty ?? "leave";
  if (isEmpty && ifEmpty === "leave") return;
  if (isEmpty && ifEmpty === "null") put(fields, control.name, null);
  else put(fields, control.name, (READERS[kind] ?? READERS.text)(control.value));
}

// ---- saying what is wrong ------------------------------------------------------------------------------

function sentence(text) {
  const said = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(said) ? said : `${said}.`;
}

function clearProblems(form) {
  const head = form.querySelector(".form-problem");
  if (head) head.hidden = true;
  for (const each of form.querySelectorAll("[aria-invalid]")) each.removeAttribute("aria-invalid");
  for (const each of form.querySelectorAll(".field-problem")) each.hidden = true;
}

export function sayAtHead(form, words) {
  const head = form.querySelector(".form-problem");
  if (!head) return;
  head.textContent = sentence(words);
  head.hidden = false;
}

function sayAtField(form, param, words) {
  const control = controlOf(form, param);
  const problem = control && form.querySelector(`#${CSS.escape(problemIdOf(control))}`);
  if (!problem) return null;
  control.setAttribute("aria-invalid", "true");
  problem.textContent = words;
  problem.hidden = false;
  const hidden = control.closest("details:not([open])");
  if (hidden) hidden.open = true;
  return control;
}

function controlOf(form, param) {
  const named = (name) => [...form.elements].find((each) => each.name === name && each.type !== "hidden");
  const parts = (param ?? "").split(".");
  while (parts.length) {
    const found = named(parts.join("."));
    if (found) return found;
    parts.pop(); // thresholds_percent.1 is the field thresholds_percent
  }
  return null;
}

function problemIdOf(control) {
  const described = (control.closest("fieldset.checks") ?? control).getAttribute("aria-describedby") ?? "";
  return described.split(" ").find((each) => each.endsWith("-problem")) ?? "none";
}

function showRefusal(form, result) {
  const error = result.answer?.error;
  if (!error) {
    sayAtHead(form, "That did not work; try again in a moment.");
    return;
  }
  const complaints = error.details?.length ? error.details : [error];
  const elsewhere = [];
  let first = null;
  for (const each of complaints) {
    const control = sayAtField(form, each.param, sentence(each.message));
    if (!control) elsewhere.push(sentence(each.param ? `${each.param}: ${each.message}` : each.message));
    first ??= control;
  }
  if (elsewhere.length) sayAtHead(form, elsewhere.join(" "));
  (first ?? form.querySelector(".form-problem"))?.focus?.();
}

// ---- sending -------------------------------------------------------------------------------------------

function confirmed(form) {
  const words = form.dataset.confirm;
  const dialog = document.getElementById("confirm");
  if (!words || !dialog) return Promise.resolve(true);
  const button = form.querySelector("button:not([type=button])");
  const word = form.dataset.confirmTyped ?? "";
  const named = button?.getAttribute("aria-label") ?? button?.textContent.trim() ?? "Go on";
  dialog.querySelector("#confirm-title").textContent = `${named}?`;
  dialog.querySelector("#confirm-text").textContent = words;
  const yes = dialog.querySelector("#confirm-yes");
  yes.textContent = button?.textContent.trim() ?? "Confirm";
  yes.className = `button ${/danger/.test(button?.className ?? "") ? "danger" : "primary"}`;
  const typed = dialog.querySelector(".confirm-typed");
  const input = dialog.querySelector("#confirm-word");
  typed.hidden = !word;
  typed.querySelector("label").textContent = `To confirm, type ${word}`;
  input.value = "";
  yes.disabled = Boolean(word);
  input.oninput = () => {
    yes.disabled = input.value !== word;
  };
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((settle) => {
    dialog.addEventListener("close", () => settle(dialog.returnValue === "confirm"), { once: true });
  });
}

function setBusy(form, isBusy) {
  for (const button of form.querySelectorAll("button:not([type=button])")) {
    button.disabled = isBusy;
    button.classList.toggle("busy", isBusy);
  }
  form.setAttribute("aria-busy", String(isBusy));
}

// For the page that is loaded next, which says it (app.js).
function leaveWord(words) {
  try {
    sessionStorage.setItem("modeltrack_said", words);
  } catch {
    // storage is off: the page shows what is so, without a word
  }
}

function goOn(form, result) {
  const then = form.dataset.then ?? "";
  if (form.dataset.afterwards) leaveWord(form.dataset.afterwards);
  if (result.answer?.status === "code_awaited") {
    location.assign(`${CODE_STEP}#return_to=${encodeURIComponent(ownAddress(then))}`);
  } else if (then === "reload") {
    if (/^(PATCH|PUT) /.test(form.dataset.operation)) leaveWord("Saved.");
    location.reload();
  } else if (then === "{url}") {
    location.assign(result.answer.url);
  } else if (then.startsWith("#")) {
    const shown = document.getElementById(then.slice(1));
    form.hidden = true;
    shown.hidden = false;
    shown.focus();
  } else if (then.startsWith("fragment:")) {
    location.assign(ownAddress(fragmentField(then.slice("fragment:".length)) || "/overview"));
  } else if (then.startsWith("/")) {
    const filled = then.replace(/\{([a-z_]+)\}/g, (_, name) => encodeURIComponent(result.answer?.[name] ?? ""));
    location.assign(ownAddress(filled));
  } else {
    return false;
  }
  return true;
}

async function send(form) {
  clearProblems(form);
  if (!(await confirmed(form))) return;
  const [method, path] = form.dataset.operation.split(" ");
  form.dataset.key ??= randomKey();
  setBusy(form, true);
  let result;
  try {
    const fields = method === "DELETE" && !form.querySelector("[name]") ? undefined : fieldsOf(form);
    const hasBody = method !== "DELETE" && Object.keys(fields ?? {}).length > 0;
    result = await ask(method, path, hasBody || method === "DELETE" ? fields : undefined, {
      key: form.dataset.key,
    });
  } catch {
    setBusy(form, false);
    sayAtHead(form, NETWORK_WORDS); // the same key goes along with the next try
    return;
  }
  if (!result.isDone) {
    setBusy(form, false);
    if (result.status === 401 && document.querySelector('meta[name="csrf-token"]')) {
      location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
      return;
    }
    if (result.answer?.error?.code === "second_factor_required") {
      location.assign(SET_UP_CODES);
      return;
    }
    showRefusal(form, result);
    return;
  }
  delete form.dataset.key; // what is sent next is something new
  if (!goOn(form, result)) setBusy(form, false);
  form.dispatchEvent(new CustomEvent("modeltrack:done", { bubbles: true, detail: result }));
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!(form instanceof HTMLFormElement) || !form.dataset.operation) return;
  event.preventDefault();
  if (form.getAttribute("aria-busy") === "true") return;
  send(form);
});

// A mailed link's token stands in the fragment, which no server sees; it leaves the address at once.
const taken = [...document.querySelectorAll("[data-from-fragment]")];
for (const each of taken) each.value = fragmentField(each.dataset.fromFragment);
if (taken.some((each) => each.dataset.fromFragment === "token" && each.value)) {
  history.replaceState(null, "", location.pathname + location.search);
}
