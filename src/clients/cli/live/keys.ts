/** What was typed, as the terminal sends it in raw mode. Pure. */

export type Key =
  | "up"
  | "down"
  | "left"
  | "right"
  | "pageUp"
  | "pageDown"
  | "home"
  | "end"
  | "escape"
  | "interrupt"
  | "enter"
  | "backspace"
  /** A printable character. */
  | `char:${string}`;

const SEQUENCES: Readonly<Record<string, Key>> = {
  A: "up",
  B: "down",
  C: "right",
  D: "left",
  H: "home",
  F: "end",
  "1~": "home",
  "4~": "end",
  "5~": "pageUp",
  "6~": "pageDown",
  "7~": "home",
  "8~": "end",
};

/** The keys of one chunk of input; a sequence that means nothing to us is passed over. */
export function parseKeys(text: string): Key[] {
  const keys: Key[] = [];
  // oxlint-disable-next-line no-control-regex -- the control characters are what terminals send
  for (const [part, , body] of text.matchAll(/\x1b([[O])([\d;]*[A-Za-z~])|[^]/gu)) {
    if (body !== undefined) {
      const key = SEQUENCES[body];
      if (key !== undefined) keys.push(key);
    } else if (part === "\x1b") keys.push("escape");
    else if (part === "\x03" || part === "\x04") keys.push("interrupt");
    else if (part === "\r" || part === "\n") keys.push("enter");
    else if (part === "\x7f" || part === "\b") keys.push("backspace");
    else if (part >= " " && part !== "\x7f") keys.push(`char:${part}`);
  }
  return keys;
}
