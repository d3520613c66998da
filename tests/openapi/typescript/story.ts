// Signs up, sends a mail, looks it up and lists what was sent, with openapi-fetch and the types that openapi-typescript
// has made. Run by tests/openapi/typescript_client.py: with SIGNUP_URL, MAIL_URL and OPERATOR_KEY, as `make run` writes
// them into var/run.env.
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components as MailParts, paths as MailPaths } from "./mail.js";
import type { components as SignupParts, paths as SignupPaths } from "./signup.js";

type User = SignupParts["schemas"]["User"];
type Mail = MailParts["schemas"]["Mail"];
type MailRequest = MailParts["schemas"]["MailRequest"];

const PATIENCE_MS = 30_000;
const { SIGNUP_URL, MAIL_URL, OPERATOR_KEY } = process.env;
assert.ok(SIGNUP_URL && MAIL_URL && OPERATOR_KEY);
const headers = { Authorization: `Bearer ${OPERATOR_KEY}` };
const signup = createClient<SignupPaths>({ baseUrl: SIGNUP_URL, headers });
const mail = createClient<MailPaths>({ baseUrl: MAIL_URL, headers });

const signedUp = await signup.POST("/v1/signups", { body: { email: "ts@example.org", name: "Åsa" } });
assert.equal(signedUp.response.status, 201);
assert.ok(signedUp.data && "id" in signedUp.data);
const user: User = signedUp.data;
assert.equal(user.status, "pending");
const again = await signup.GET("/v1/users/{user_id}", { params: { path: { user_id: user.id } } });
assert.deepEqual(again.data, user);

const letter: MailRequest = {
  request_id: "generated-ts",
  to: { email: "ts@example.org" },
  subject: "Hello",
  text: "From a generated client",
};
const asked = await mail.POST("/v1/mails", { body: letter });
assert.ok(asked.data, JSON.stringify(asked.error));

const lookUp = async (): Promise<Mail> => {
  const { data, error } = await mail.POST("/v1/mails/lookup", { body: { request_ids: ["generated-ts", "nothing"] } });
  assert.ok(data, JSON.stringify(error));
  assert.deepEqual(data.missing, ["nothing"]);
  const found = data.found["generated-ts"];
  assert.equal(found?.id, asked.data.id);
  return found as Mail;
};
const deadline = Date.now() + PATIENCE_MS;
let found = await lookUp();
while (found.state !== "sent") {
  assert.ok(Date.now() < deadline, JSON.stringify(found));
  await new Promise((resolve) => setTimeout(resolve, 50));
  found = await lookUp();
}

const sent = await mail.GET("/v1/mails", { params: { query: { request_id: ["generated-ts"], state: ["sent"] } } });
assert.deepEqual(sent.data, { items: [found], next_cursor: null });

const refused = await mail.POST("/v1/mails", { body: { ...letter, text: "Another text under the same request ID" } });
assert.equal(refused.response.status, 422);
assert.equal(refused.error?.type, "/problems/request-id-reused");
assert.deepEqual(refused.error?.errors?.map((place) => place.pointer), ["/text"]);
