// Starts Swagger UI. Its default validator is a service on another host, to which it would send this document's address.
const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

SwaggerUIBundle({
  dom_id: "#calls",
  url: new URL("openapi.json", document.baseURI).href,
  validatorUrl: null,
  deepLinking: true,
  displayRequestDuration: true,
});
