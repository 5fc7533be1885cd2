/** Addresses between text and the bytes of attributes. @throws TypeError: text that reaches this room was parsed before */

/** 4 or 16 bytes. */
export function addressBytes(text: string): Uint8Array {
  return text.includes(":") ? ipv6Bytes(text) : ipv4Bytes(text);
}

/** Compressed as RFC 5952 says. */
export function formatAddress(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join(".");
  const words = Array.from({ length: 8 }, (_, index) =>
    (((bytes[index * 2] ?? 0) << 8) | (bytes[index * 2 + 1] ?? 0)).toString(16),
  );
  // The platform's own parser compresses.
  return new URL(`http://[${words.join(":")}]/`).hostname.slice(1, -1);
}

export function macBytes(text: string): Uint8Array {
  if (!/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(text)) {
    throw new TypeError(`not a hardware address: ${text}`);
  }
  return Uint8Array.fromHex(text.replaceAll(":", ""));
}

export function broadcastOf(address: Uint8Array, prefixLength: number): Uint8Array {
  const mask = prefixLength === 0 ? 0xffff_ffff : 0xffff_ffff >>> prefixLength;
  return address.map((byte, index) => byte | ((mask >>> (24 - 8 * index)) & 0xff));
}

function ipv4Bytes(text: string): Uint8Array {
  const parts = text.split(".").map(Number);
  if (parts.length !== 4 || parts.some((part) => !(part >= 0 && part <= 255))) {
    throw new TypeError(`not an IPv4 address: ${text}`);
  }
  return Uint8Array.from(parts);
}

function ipv6Bytes(text: string): Uint8Array {
  const [head = "", tail] = text.split("::");
  const groups = (part: string): string[] => (part === "" ? [] : part.split(":"));
  const [left, right] = [groups(head), groups(tail ?? "")];
  const zeros = 8 - left.length - right.length;
  if (zeros < 0 || (tail === undefined && zeros > 0)) {
    throw new TypeError(`not an IPv6 address: ${text}`);
  }
  const words = [...left, ...Array.from({ length: zeros }, () => "0"), ...right];
  return Uint8Array.from(
    words.flatMap((group) => {
      const word = Number.parseInt(group, 16);
      return [word >>> 8, word & 255];
    }),
  );
}
