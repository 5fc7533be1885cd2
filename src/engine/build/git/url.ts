/** URLs of git repositories as Docker takes them: `<repository>#<ref>:<folder>`. Pure. */
import { invalid } from "#base";

export interface GitSource {
  readonly remote: string;
  /** Branch, tag, whole ref or commit; "" for the repository's HEAD. */
  readonly ref: string;
  /** Below the top, no slash in front; "" for all. */
  readonly folder: string;
}

const IS_GIT = /^(?:git:\/\/|ssh:\/\/|github\.com\/|git@|https?:\/\/[^#]*\.git(?:#|$))/i;

/** null for what names no repository. @throws EngineError "invalid" for one that nobody can have meant */
export function parseGitUrl(text: string): GitSource | null {
  if (!IS_GIT.test(text)) return null;
  const cut = text.indexOf("#");
  const written = cut < 0 ? text : text.slice(0, cut);
  const fragment = cut < 0 ? "" : text.slice(cut + 1);
  const colon = fragment.indexOf(":");
  const ref = colon < 0 ? fragment : fragment.slice(0, colon);
  const folder = colon < 0 ? "" : fragment.slice(colon + 1);
  const remote = /^github\.com\//i.test(written) ? `https://${written}` : written;
  // eslint-disable-next-line no-control-regex -- exactly these must not reach the program.
  if (/[\u0000-\u0020\u007f]/.test(remote + ref) || folder.includes("\u0000")) {
    throw invalid(`invalid git URL: ${JSON.stringify(text)}`);
  }
  // What git itself forbids in names; a dash in front would be an option.
  if (/^-|\.\.|@\{|[~^:?*[\\]/.test(ref)) throw invalid(`invalid refspec: ${ref}`);
  const parts = folder.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw invalid(`invalid subdirectory of a git repository: ${folder}`);
  return { remote, ref, folder: parts.join("/") };
}
