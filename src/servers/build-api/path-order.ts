/** Paths of a list as a walk gives them: clean, inside, each once, a folder before what is in it. */
import { invalid } from "#base";

interface Level {
  readonly folder: string;
  last: string;
}

/** Linux's own limit. */
const PATH_LIMIT_BYTES = 4096;

/** @returns to be called with each path, in order; it throws EngineError "invalid". Paths are byte strings */
export function pathChecker(): (path: string, isFolder: boolean) => void {
  const levels: Level[] = [{ folder: "", last: "" }];
  return (path, isFolder) => {
    if (path.length > PATH_LIMIT_BYTES || path.includes("\0")) throw invalid("a path is no path");
    const cut = path.lastIndexOf("/");
    const [folder, name] = [cut < 0 ? "" : path.slice(0, cut), path.slice(cut + 1)];
    const isClean = name !== "" && name !== "." && name !== ".." && !path.startsWith("/");
    if (!isClean) throw invalid(`${JSON.stringify(path)}: invalid path`);
    while ((levels.at(-1)?.folder ?? "") !== folder) {
      levels.pop();
      if (levels.length === 0) throw invalid(`changes out of order: ${JSON.stringify(path)}`);
    }
    const level = levels.at(-1);
    if (level === undefined || level.last >= name) {
      throw invalid(`changes out of order: ${JSON.stringify(path)}`);
    }
    level.last = name;
    if (isFolder) levels.push({ folder: path, last: "" });
  };
}
