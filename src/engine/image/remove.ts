/**
 * `docker rmi`, step for step as Docker does it: a name is removed first, the image with its last name, its
 * unnamed parents if asked. What users and other names forbid is said in Docker's words.
 */
import { conflict, type EngineError, shortId } from "#base";
import { type Digest, digestHex, familiarReference, parseReference } from "#oci";

import { imageEvent, type ImageContext, type ImageEvent } from "./context.ts";
import type { DeletedImage, ImageService } from "./image-service.ts";
import { chainOf } from "./records.ts";
import { isIdPrefix, resolveImage, storedName } from "./resolve.ts";

type RemoveRequest = Parameters<ImageService["remove"]>[0];

/** A forced removal overrides soft conflicts only. */
interface Conflict {
  readonly isHard: boolean;
  /** By a container, not by a name. */
  readonly isUse: boolean;
  readonly sentence: string;
}

export function removeImage(context: ImageContext, request: RemoveRequest): DeletedImage[] {
  const { records } = context;
  const removal = new Removal(context, request.force);
  records.transact(() => {
    const id = resolveImage(records, request.name);
    if (isIdPrefix(id, request.name)) removal.byId(id, request.prune);
    else removal.byName(id, request.name, request.prune);
  });
  removal.finish();
  return removal.deleted;
}

class Removal {
  readonly deleted: DeletedImage[] = [];
  readonly #context: ImageContext;
  readonly #force: boolean;
  readonly #blobs: Digest[] = [];
  readonly #layers: Digest[] = [];
  readonly #events: ImageEvent[] = [];

  constructor(context: ImageContext, force: boolean) {
    this.#context = context;
    this.#force = force;
  }

  byName(id: Digest, asked: string, prune: boolean): void {
    const { users } = this.#context;
    const [user] = users.usersOf(id);
    if (!this.#force && user && isSingleName(this.#names(id))) {
      throw conflict(
        `conflict: unable to remove repository reference ${JSON.stringify(asked)} (must force) - container ${shortId(user.id)} is using its referenced image ${shortId(digestHex(id))}`,
      );
    }
    const name = storedName(parseReference(asked));
    this.#untag(id, name);
    const repository = repositoryPart(name);
    const ofRepository = this.#names(id).filter((other) => repositoryPart(other) === repository);
    // Digests of a repository whose last tag went would keep the image for nobody.
    if (!name.includes("@") && ofRepository.every((other) => other.includes("@"))) {
      for (const other of ofRepository) this.#untag(id, other);
    }
    if (this.#names(id).length === 0) this.#delete(id, { prune, quiet: true, force: this.#force });
  }

  byId(id: Digest, prune: boolean): void {
    const names = this.#names(id);
    if (isSingleName(names)) {
      const found = this.#conflictOf(id, { force: this.#force, ignoreNames: true });
      if (found) throw conflictError(id, found);
      for (const name of names) this.#untag(id, name);
    }
    this.#delete(id, { prune, quiet: false, force: this.#force });
  }

  /** After the records are committed: the events, and the files, which a crash leaves for the next sweep. */
  finish(): void {
    for (const event of this.#events) this.#context.events.publish(event);
    this.#context.gc.release({ blobs: this.#blobs, layers: this.#layers });
  }

  #names(id: Digest): string[] {
    return this.#context.records.namesOf(id);
  }

  #tell(action: string, id: Digest): void {
    this.#events.push(imageEvent(this.#context, { action, actorId: id, name: id, imageId: id }));
  }

  #untag(id: Digest, name: string): void {
    this.#context.records.removeName(name);
    this.deleted.push({ untagged: familiarReference(parseReference(name)) });
    this.#tell("untag", id);
  }

  #delete(id: Digest, options: { prune: boolean; quiet: boolean; force: boolean }): void {
    const { records } = this.#context;
    const { prune, quiet, force } = options;
    const found = this.#conflictOf(id, { force, ignoreNames: false });
    if (found) {
      if (quiet && (this.#names(id).length > 0 || found.isUse)) return;
      throw conflictError(id, found);
    }
    const facts = records.factsOf(id);
    for (const name of this.#names(id)) this.#untag(id, name);
    this.#tell("delete", id);
    records.delete(id);
    records.forgetLayerBlobs(facts.diffIds);
    this.deleted.push({ deleted: id });
    for (const { chainId } of chainOf(facts.diffIds).reverse()) {
      if (!records.isChainUsed(chainId)) this.deleted.push({ deleted: chainId });
    }
    this.#blobs.push(id, ...(facts.manifest ? [facts.manifest] : []));
    this.#layers.push(...facts.diffIds);
    if (prune && facts.parent && records.has(facts.parent)) {
      this.#delete(facts.parent, { prune: true, quiet: true, force: false });
    }
  }

  #conflictOf(
    id: Digest,
    { force, ignoreNames }: { force: boolean; ignoreNames: boolean },
  ): Conflict | null {
    const { records, users } = this.#context;
    const using = users.usersOf(id);
    if (records.children(id).length > 0) {
      return { isHard: true, isUse: false, sentence: "image has dependent child images" };
    }
    const running = using.find((user) => user.running);
    if (running) {
      const sentence = `image is being used by running container ${shortId(running.id)}`;
      return { isHard: true, isUse: true, sentence };
    }
    if (force) return null;
    if (!ignoreNames && this.#names(id).length > 0) {
      const sentence = "image is referenced in multiple repositories";
      return { isHard: false, isUse: false, sentence };
    }
    const [stopped] = using;
    if (!stopped) return null;
    const sentence = `image is being used by stopped container ${shortId(stopped.id)}`;
    return { isHard: false, isUse: true, sentence };
  }
}

const conflictError = (id: Digest, { isHard, sentence }: Conflict): EngineError =>
  conflict(
    `conflict: unable to delete ${shortId(digestHex(id))} (${isHard ? "cannot be forced" : "must be forced"}) - ${sentence}`,
  );

/** `docker.io/library/busybox` of a stored name. */
const repositoryPart = (name: string): string =>
  name.includes("@") ? (name.split("@", 1)[0] ?? name) : name.slice(0, name.lastIndexOf(":"));

/** At most one tag, and digests of its repository only: removing by id then removes them all. */
function isSingleName(names: readonly string[]): boolean {
  const tags = names.filter((name) => !name.includes("@"));
  const repositories = new Set(names.map(repositoryPart));
  return tags.length <= 1 && repositories.size <= 1;
}
