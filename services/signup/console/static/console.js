// The console works without this. Parts of a page that change by themselves stand still while the page is hidden, and
// while someone is in them with the keyboard; and a picture that was brought out of date by an outage says so.
document.addEventListener('htmx:beforeRequest', (event) => {
  const part = event.detail.elt;
  if (document.hidden || part.querySelector(':focus-visible')) {
    event.preventDefault();
  }
});

for (const name of ['htmx:sendError', 'htmx:responseError']) {
  document.addEventListener(name, (event) => event.detail.elt.classList.add('stale'));
}
