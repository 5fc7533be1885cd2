/** Identifiers as Docker shapes them: 64 lower-case hexadecimal digits, shown to people as the first 12. */

const SHORT_LENGTH = 12;

/** 32 random bytes as 64 hexadecimal digits. Never all digits in the first 12: a short id must not read as a number. */
export function newId(): string {
  for (;;) {
    const id = crypto.getRandomValues(new Uint8Array(32)).toHex();
    if (/[a-f]/.test(id.slice(0, SHORT_LENGTH))) return id;
  }
}

/** The first 12 digits of an id. */
export const shortId = (id: string): string => id.slice(0, SHORT_LENGTH);

/** True for a whole id: 64 lower-case hexadecimal digits. */
export const isId = (text: string): boolean => /^[a-f0-9]{64}$/.test(text);
