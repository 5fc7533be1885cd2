/** What a step reads: which files a pattern means, and one digest over all that is copied of them. */
import { breathe, invalid, newId } from "#base";
import { isPattern, segmentPattern } from "#wire/ignore";
import { below, type Found, type SourceNode, type SourceTree } from "#engine/build/source";
import { rawOf, textOf } from "#wire/tar";

/** A source with what `--parents` repeats of its path. */
export interface Match {
  readonly found: Found;
  /** As it was named, which may be a link to what was found; a byte string. */
  readonly name: string;
  /** Folders between the pivot and the source, a byte string. */
  readonly parents: string;
}

/** More matches than this are no COPY that anybody meant. */
const MATCH_LIMIT = 1_000_000;

/**
 * The things a source names, in order.
 * @param parents `**` means any depth, and a match remembers its folders from the pivot `/./` on
 * @returns nothing for a pattern that nothing matches: `package.json yarn.lock*` is how an optional file is written
 * @throws EngineError "invalid" in Docker's words when what is named without a pattern is not there
 */
export function matchSources(
  tree: SourceTree,
  source: string,
  options: { readonly parents: boolean; readonly name: string; readonly isBuildKit: boolean },
): Match[] {
  const { parents, name } = options;
  const pivot = parents ? source.indexOf("/./") : -1;
  const segments = cleanSegments(source);
  const pivotDepth = pivot < 0 ? 0 : cleanSegments(source.slice(0, pivot)).length;
  if (!segments.some(isPattern)) {
    const path = rawOf(segments.join("/"));
    const found = tree.find(path, { follow: !parents });
    if (found === null) throw notThere(source, options);
    const names = segments.map(rawOf);
    return [{ found, name: names.at(-1) ?? "", parents: parentsOf(names, pivotDepth) }];
  }
  const matches: Match[] = [];
  // With several `**` a folder is come to by many ways, all of which go on alike.
  const seen = new Set<string>();
  const walk = (at: Found, names: readonly string[], rest: readonly string[]): void => {
    const [segment, ...others] = rest;
    const way = `${rest.length} ${names.join("/")}`;
    if (parents && seen.has(way)) return;
    if (parents) seen.add(way);
    if (segment === undefined) {
      matches.push({ found: at, name: names.at(-1) ?? "", parents: parentsOf(names, pivotDepth) });
      if (matches.length > MATCH_LIMIT) throw invalid(`${name} failed: too many source files`);
      return;
    }
    if (at.node.type !== "directory") return;
    if (parents && segment === "**") {
      walk(at, names, others);
      for (const child of childrenOf(tree, at, ".*")) {
        if (child.found.node.type === "directory") {
          walk(child.found, [...names, child.name], rest);
        }
      }
      return;
    }
    for (const child of childrenOf(tree, at, segment)) {
      // A link on the way is followed; one that is itself the source as well.
      const followed = tree.find(child.found.path, { follow: others.length > 0 || !parents });
      if (followed !== null) walk(followed, [...names, child.name], others);
    }
  };
  const top = tree.find("", { follow: true });
  if (top !== null) walk(top, [], segments);
  return matches;
}

function notThere(
  source: string,
  { name, isBuildKit }: { readonly name: string; readonly isBuildKit: boolean },
): Error {
  if (!isBuildKit) {
    const path = source.replace(/^\/+/, "");
    return invalid(
      `${name} failed: file not found in build context or excluded by .dockerignore: stat ${path}: file does not exist`,
    );
  }
  const path = JSON.stringify(`/${cleanSegments(source).join("/")}`);
  return invalid(
    `failed to compute cache key: failed to calculate checksum of ref ${newId().slice(0, 25)}: ${path}: not found`,
  );
}

const parentsOf = (names: readonly string[], pivotDepth: number): string =>
  names.slice(pivotDepth, -1).join("/");

function cleanSegments(source: string): string[] {
  const segments: string[] = [];
  for (const segment of source.split("/")) {
    if (segment === "..") segments.pop();
    else if (segment !== "" && segment !== ".") segments.push(segment);
  }
  return segments;
}

function childrenOf(
  tree: SourceTree,
  at: Found,
  segment: string,
): { name: string; found: Found }[] {
  const literal = segment === ".*" ? null : isPattern(segment) ? null : rawOf(segment);
  const expression = segment === ".*" ? /^/ : segmentPattern(segment);
  const names =
    literal === null
      ? tree.list(at.path).filter((name) => expression.test(textOf(name)))
      : [literal];
  return names.flatMap((name) => {
    const path = below(at.path, name);
    const node = tree.at(path);
    return node === null ? [] : [{ name, found: { path, node } }];
  });
}

/** A file of a step's input, for telling what changed. */
export interface InputFile {
  readonly path: string;
  readonly digest: string;
}

/** How many files of one step are remembered to tell what changed. */
const REMEMBERED_FILES = 4000;

/** A digest over things and all that is in them: names, kinds, modes, targets and bytes; not times and owners. */
export class InputDigest {
  readonly files: InputFile[] = [];
  readonly #hasher = new Bun.CryptoHasher("sha256");

  /** One at a time: what is added stands in the digest in this order. */
  async add(
    tree: SourceTree,
    { path, node }: Found,
    options: { as: string; isExcluded: ((path: string) => boolean) | null; keepOwner: boolean },
  ): Promise<void> {
    const walk = async (at: string, current: SourceNode, relative: string): Promise<void> => {
      const isTop = relative === "";
      const isOut = !isTop && options.isExcluded?.(relative) === true;
      if (!isOut) {
        const content = current.type === "file" ? tree.digestOf(at, current) : "";
        this.#one(current, {
          relative,
          ...options,
          content: typeof content === "string" ? content : await content,
        });
      }
      if (current.type !== "directory") return;
      for (const name of tree.list(at)) {
        await breathe();
        const child = tree.at(below(at, name));
        if (child !== null) await walk(below(at, name), child, below(relative, name));
      }
    };
    await walk(path, node, "");
  }

  /** Any other text that decides about the result. */
  text(text: string): void {
    this.#hasher.update(`${text.length}:${text}\n`);
  }

  /** What was digested before, with its files. */
  inner({ digest, files }: { digest: string; files: readonly InputFile[] }): void {
    this.text(digest);
    this.files.push(...files.slice(0, REMEMBERED_FILES - this.files.length));
  }

  hex(): string {
    return this.#hasher.digest("hex");
  }

  #one(
    node: SourceNode,
    options: { as: string; relative: string; keepOwner: boolean; content: string },
  ): void {
    const { as, relative, keepOwner, content } = options;
    const { type, mode, link, devMajor, devMinor, xattrs, uid, gid } = node;
    const attributes = [...(xattrs ?? [])].map(([name, value]) => [name, value.toString()]);
    const owner = keepOwner ? [uid, gid] : [];
    const name = relative === "" ? as : below(as, relative);
    // A folder's own mode counts below the source only: of the source itself just the content is copied.
    const ownMode = type === "directory" && relative === "" ? 0 : mode;
    const line = JSON.stringify([
      name,
      type,
      ownMode,
      link,
      devMajor,
      devMinor,
      content,
      attributes,
      owner,
    ]);
    this.#hasher.update(`${line}\n`);
    if (this.files.length < REMEMBERED_FILES && type !== "directory") {
      const digest = `${mode.toString(8)}:${link ?? content.slice(0, 16)}`;
      this.files.push({ path: textOf(name), digest });
    }
  }
}
