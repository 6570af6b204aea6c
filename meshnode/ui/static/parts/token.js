/** The dialog for the token. */

import { ApiError, call, setToken, token } from "../core/api.js";
import { button, h, shown } from "../core/dom.js";
import { field, form } from "./dialogs.js";

/** Ask for the token of this tab; resolves to whether it is another one now. */
export async function askToken() {
  const before = token();
  const input = h("input", { type: "password", autocomplete: "off", spellcheck: false, value: before });
  const forget =
    before &&
    button("Forget it", () => {
      input.value = "";
      input.form.requestSubmit();
    });
  const content = h(
    "div",
    {},
    field(
      "Secret ID of an ACL token",
      input,
      "Kept in this tab until it is closed, and sent to this agent only.",
    ),
    forget,
  );
  await form({ title: "Token", content, action: "Use", submit: () => use(input.value.trim()) });
  return token() !== before;
}

async function use(value) {
  if (!/^[\x21-\x7e]*$/.test(value))
    throw new ApiError(400, "A token has no spaces and only ASCII characters");
  const before = token();
  setToken(value);
  if (!value) return;
  try {
    await call("/v1/acl/token/self");
  } catch (error) {
    // Without ACLs any token will do; what only can't be asked now may be right as well.
    if (!error.denied || /support disabled/.test(error.message)) return;
    setToken(before);
    throw new ApiError(
      400,
      `The agent does not know this token: was it copied whole? (${shown(error.message)})`,
    );
  }
}
