// Keeps what follows by itself ([data-tail], fetched by htmx every other second) within bounds: it rests while
// nobody looks, and stops after a while, so that a tab that was forgotten asks for nothing.

const ASKED_MAX = 900; // half an hour

let asked = 0;

function sayStopped(tail) {
  const words = document.createElement("p");
  words.className = "note warn";
  words.setAttribute("role", "status");
  words.textContent = "This page has stopped following. Reload it to go on.";
  tail.before(words);
}

document.addEventListener("htmx:beforeRequest", (event) => {
  const tail = event.target;
  if (!(tail instanceof Element) || !tail.matches("[data-tail]")) return;
  if (document.hidden || asked > ASKED_MAX) {
    event.preventDefault();
    return;
  }
  asked += 1;
  if (asked > ASKED_MAX) sayStopped(tail);
});

// An empty field asks for nothing; sent, it would ask for calls that name none.
document.addEventListener("formdata", (event) => {
  if (!event.target.matches(".narrowing")) return;
  const given = [...event.formData.entries()];
  for (const [name, value] of given) if (value === "") event.formData.delete(name);
});
