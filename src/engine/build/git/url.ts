/**
 * URLs of git repositories as Docker takes them: `<repository>#<ref>:<folder>`, or with a query,
 * `<repository>?branch=<name>&subdir=<folder>`. Pure. Source: docs.docker.com/build/concepts/context, "URL queries".
 */
import { invalid } from "#base";

export interface GitSource {
  readonly remote: string;
  /** Branch, tag, whole ref or commit; "" for the repository's HEAD. */
  readonly ref: string;
  /** Below the top, no slash in front; "" for all. */
  readonly folder: string;
  /** The commit that the ref has to mean, or its beginning; "" for whichever it means. */
  readonly commit: string;
  /** null: the URL does not say. */
  readonly keepGitDir: boolean | null;
  readonly hasSubmodules: boolean;
}

const IS_GIT =
  /^(?:git:\/\/|ssh:\/\/|github\.com\/|[a-zA-Z0-9_][a-zA-Z0-9_-]*@[a-zA-Z0-9.-]+:|https?:\/\/[^?#]*\.git(?:[?#]|$))/i;
const QUERY_LIMIT = 16;

/** null for what names no repository. @throws EngineError "invalid" for one that nobody can have meant */
export function parseGitUrl(text: string): GitSource | null {
  if (!IS_GIT.test(text)) return null;
  const [, written = "", query = "", fragment = ""] = /^([^?#]*)(?:\?([^#]*))?(?:#(.*))?$/s.exec(
    text,
  ) ?? ["", text];
  const colon = fragment.indexOf(":");
  const asked = askedBy(query, {
    ref: colon < 0 ? fragment : fragment.slice(0, colon),
    folder: colon < 0 ? "" : fragment.slice(colon + 1),
  });
  const { ref, folder } = asked;
  const remote = /^github\.com\//i.test(written) ? `https://${written}` : written;
  // eslint-disable-next-line no-control-regex -- exactly these must not reach the program.
  if (/[\u0000-\u0020\u007f]/.test(remote + ref) || folder.includes("\u0000")) {
    throw invalid(`invalid git URL: ${JSON.stringify(text)}`);
  }
  // What git itself forbids in names; a dash in front would be an option.
  if (/^-|\.\.|@\{|[~^:?*[\\]/.test(ref)) throw invalid(`invalid refspec: ${ref}`);
  const parts = folder.split("/").filter((part) => part !== "" && part !== ".");
  if (parts.includes("..")) throw invalid(`invalid subdirectory of a git repository: ${folder}`);
  return { ...asked, remote, folder: parts.join("/") };
}

type Asked = Omit<GitSource, "remote">;

/** What the query says beside the fragment. @throws EngineError "invalid" in BuildKit's words */
function askedBy(query: string, fragment: Pick<GitSource, "ref" | "folder">): Asked {
  const given = new Map<string, string>();
  for (const [name, value] of new URLSearchParams(query)) {
    if (given.has(name)) throw invalid(`query ${JSON.stringify(name)} has multiple values`);
    if (given.size >= QUERY_LIMIT) throw invalid("too many queries in a git URL");
    given.set(name, value);
  }
  const asked = { ...fragment, commit: "", keepGitDir: null as boolean | null };
  let hasSubmodules = true;
  const named = { tag: "", branch: "" };
  for (const [name, value] of given) {
    switch (name) {
      case "ref":
        asked.ref = agreed("ref", asked.ref, said(name, value));
        break;
      case "tag":
      case "branch":
        named[name] = said(name, value);
        break;
      case "subdir":
        asked.folder = agreed("subdir", asked.folder, said(name, value));
        break;
      case "checksum":
      case "commit":
        asked.commit = commitOf(said(name, value));
        break;
      case "keep-git-dir":
        asked.keepGitDir = truthOf(name, value);
        break;
      case "submodules":
        hasSubmodules = truthOf(name, value);
        break;
      default:
        throw invalid(`unexpected query ${JSON.stringify(name)}`);
    }
  }
  if (named.tag !== "" && named.branch !== "") throw invalid("branch conflicts with tag");
  for (const [kind, folder] of [
    ["tag", "refs/tags/"],
    ["branch", "refs/heads/"],
  ] as const) {
    const name = named[kind];
    if (name === "") continue;
    asked.ref = agreed("ref", asked.ref, name.startsWith(folder) ? name : folder + name);
  }
  return { ...asked, hasSubmodules, ref: asked.ref === "" ? asked.commit : asked.ref };
}

function said(name: string, value: string): string {
  if (value === "") throw invalid(`query ${JSON.stringify(name)} has no value`);
  return value;
}

/** What the fragment says too has to be the same. */
function agreed(what: "ref" | "subdir", before: string, value: string): string {
  if (before !== "" && before !== value) {
    throw invalid(`${what} conflicts: ${JSON.stringify(before)} vs ${JSON.stringify(value)}`);
  }
  return value;
}

function commitOf(text: string): string {
  if (!/^[0-9a-f]{1,64}$/.test(text)) throw invalid(`invalid checksum ${JSON.stringify(text)}`);
  return text;
}

/** Go's words for it; none at all is yes. */
function truthOf(name: string, value: string): boolean {
  if (/^(?:|1|t|T|TRUE|true|True)$/.test(value)) return true;
  if (/^(?:0|f|F|FALSE|false|False)$/.test(value)) return false;
  throw invalid(`invalid ${name} value: ${JSON.stringify(value)}`);
}
