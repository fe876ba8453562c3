// An invite's link: asks what it leads to, and offers the step that fits whoever follows it.

import { ask, sayAtHead } from "./forms.js";

const box = document.querySelector("[data-invite]");
const part = (name) => box.querySelector(`[data-invite-${name}]`);
const token = box.querySelector('input[name="token"]').value;

async function session() {
  const found = await ask("GET", "/v1/session");
  return found.isDone ? found.answer : null;
}

async function show() {
  if (!token) {
    part("wait").hidden = true;
    sayAtHead(box, "Something is missing from this address: open the link in your mail again.");
    return;
  }
  const found = await ask("POST", "/v1/invites/look-up", { token });
  part("wait").hidden = true;
  if (!found.isDone) {
    sayAtHead(box, found.answer?.error?.message ?? "The link could not be looked up; try again in a moment.");
    return;
  }
  const { account_name: name, role, email, has_login: hasLogin } = found.answer;
  for (const [key, text] of Object.entries({ name, role, email })) {
    box.querySelector(`[data-${key}]`).textContent = text;
  }
  part("words").hidden = false;
  const own = await session();
  if (own) {
    const meta = document.createElement("meta");
    meta.name = "csrf-token";
    meta.content = own.csrf_token;
    document.head.append(meta);
    part("accept").hidden = false;
  } else {
    part(hasLogin ? "login" : "sign-up").hidden = false;
  }
}

show().catch(() => {
  part("wait").hidden = true;
  sayAtHead(box, "The answer did not arrive. Check the connection and load the page again.");
});
