/**
 * `docker rmi`, step for step as Docker does it: a name is removed first, the image with its last name, its
 * unnamed parents if asked. What users and other names forbid is said in Docker's words.
 */
import { conflict, type EngineError, invalid, shortId } from "#base";
import {
  type Digest,
  digestHex,
  familiarReference,
  parseAnyReference,
  parseReference,
  type Platform,
} from "#oci";

import { attestationHere, attestationsOf } from "./attestations.ts";
import { imageEvent, type ImageContext, type ImageEvent } from "./context.ts";
import type { DeletedImage, ImageService } from "./image-service.ts";
import { readIndex } from "./manifests.ts";
import { imageFor, imagesOf, isExactly, isMissing } from "./platforms.ts";
import { chainOf } from "./records.ts";
import { isIdPrefix, resolveNamed, storedName } from "./resolve.ts";

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
    const { id, index } = resolveNamed(records, request.name);
    const platforms = request.platforms ?? [];
    if (platforms.length > 0 && index !== null) {
      if (!request.force) throw invalid(FORCE_PLATFORMS);
      const meant = platforms.map((platform) =>
        memberFor(context, { ...request, index, platform }),
      );
      // Without its last platform an index is nothing: its names go with it.
      if (records.indexes.members(index).some(({ imageId }) => !meant.includes(imageId))) {
        for (const member of new Set(meant)) removal.platform(index, member);
        return;
      }
    } else {
      // As Docker without several platforms.
      if (platforms.length > 1) throw invalid("multiple platforms are not supported");
      for (const platform of platforms) imageFor(context, request.name, platform);
    }
    const isId = isIdPrefix(id, request.name) || "id" in parseAnyReference(request.name);
    if (isId) removal.byId(id, request.prune);
    else removal.byName(id, request.name, request.prune);
  });
  removal.finish();
  return removal.deleted;
}

/** Letter for letter, with Docker's own dash. */
const FORCE_PLATFORMS =
  "Content will be removed from all images referencing this variant. Use —-force to force delete.";

function memberFor(
  context: ImageContext,
  request: { name: string; index: Digest; platform: Platform },
): Digest {
  const { name, index, platform } = request;
  const found = imagesOf(context, index).find(({ config }) => isExactly(platform, config));
  if (!found) throw isMissing(name, platform);
  return found.id;
}

class Removal {
  readonly deleted: DeletedImage[] = [];
  readonly #context: ImageContext;
  readonly #force: boolean;
  readonly #blobs: Digest[] = [];
  readonly #layers: Digest[] = [];
  readonly #events: ImageEvent[] = [];
  /** Images that may have lost their last name with an index. */
  readonly #orphans = new Set<Digest>();

  constructor(context: ImageContext, force: boolean) {
    this.#context = context;
    this.#force = force;
  }

  byName(id: Digest, asked: string, prune: boolean): void {
    const name = storedName(parseReference(asked));
    const used = this.#usedBy(id, name);
    if (!this.#force && used && isSingleName(this.#names(id))) {
      throw conflict(
        `conflict: unable to remove repository reference ${JSON.stringify(asked)} (must force) - container ${shortId(used.by)} is using its referenced image ${shortId(digestHex(used.id))}`,
      );
    }
    this.#untag(id, name);
    const repository = repositoryPart(name);
    const ofRepository = this.#names(id).filter((other) => repositoryPart(other) === repository);
    // Digests of a repository whose last tag went would keep the image for nobody; Docker has no event for them.
    if (!name.includes("@") && ofRepository.every((other) => other.includes("@"))) {
      for (const other of ofRepository) this.#forgetName(other);
    }
    for (const orphan of this.#orphans) {
      const own = this.#names(orphan);
      const isOfRepository = own.every((other) => other.startsWith(`${repository}@`));
      if (isOfRepository) for (const other of own) this.#forgetName(other);
    }
    if (this.#isFree(id)) this.#delete(id, { prune, quiet: true, force: this.#force });
    this.#deleteOrphans(id);
  }

  /** True for an image without names, unless it stands for an index without names. */
  #isFree(id: Digest): boolean {
    const { indexes } = this.#context.records;
    return this.#names(id).length === 0 && indexes.hiddenOf(id).length === 0;
  }

  /** The first container of an image, or of another platform of what its name stands for. */
  #usedBy(id: Digest, name: string): { readonly id: Digest; readonly by: string } | null {
    const { records, users } = this.#context;
    const index = records.indexes.indexOfName(name);
    const members = index === null ? [] : records.indexes.members(index);
    for (const candidate of [id, ...members.map(({ imageId }) => imageId)]) {
      const [user] = users.usersOf(candidate);
      if (user) return { id: candidate, by: user.id };
    }
    return null;
  }

  /** One platform of an index, whose names go on to stand for the others. */
  platform(index: Digest, id: Digest): void {
    const { records, users } = this.#context;
    const running = users.usersOf(id).find((user) => user.running);
    if (running) {
      const sentence = `image is being used by running container ${shortId(running.id)}`;
      throw conflictError(id, { isHard: true, isUse: true, sentence });
    }
    const gone = records.indexes.members(index).filter(({ imageId }) => imageId === id);
    this.#forgetAttestations(index, gone);
    // As Docker: all indexes lose it, which is why it has to be forced.
    for (const one of records.indexes.containing(id)) {
      const isLast = records.indexes.members(one).every(({ imageId }) => imageId === id);
      if (!isLast) records.removeFromIndex(one, id);
    }
    for (const { manifest } of gone) this.deleted.push({ deleted: manifest });
    this.#blobs.push(...gone.map(({ manifest }) => manifest));
    if (this.#isFree(id)) this.#delete(id, { prune: false, quiet: true, force: this.#force });
  }

  #forgetAttestations(index: Digest, gone: readonly { readonly manifest: Digest }[]): void {
    const stored = readIndex(this.#context, index);
    const descriptors = gone.flatMap(({ manifest }) =>
      stored ? attestationsOf(stored.index, manifest) : [],
    );
    const digests = descriptors.flatMap((descriptor) => {
      const here = attestationHere(this.#context, descriptor);
      return [descriptor.digest, ...(here?.documents ?? []).map(({ digest }) => digest)];
    });
    this.#context.records.indexes.removeBlobs(index, digests);
    this.#blobs.push(...digests);
  }

  byId(id: Digest, prune: boolean): void {
    const names = this.#names(id);
    if (isSingleName(names)) {
      const found = this.#conflictOf(id, { force: this.#force, ignoreNames: true });
      if (found) throw conflictError(id, found);
      for (const name of names) this.#untag(id, name);
    }
    this.#delete(id, { prune, quiet: false, force: this.#force });
    this.#deleteOrphans(id);
  }

  /** The other platforms of an index that lost its last name, unless something else needs them. */
  #deleteOrphans(removed: Digest): void {
    const { records } = this.#context;
    for (const id of this.#orphans) {
      const isNeeded = id === removed || !records.has(id) || !this.#isFree(id);
      if (isNeeded || records.indexes.containing(id).length > 0) continue;
      this.#delete(id, { prune: false, quiet: true, force: this.#force });
    }
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
    this.#forgetName(name);
    this.#tell("untag", id);
  }

  #forgetName(name: string): void {
    const { records } = this.#context;
    const index = records.indexes.indexOfName(name);
    records.removeName(name);
    if (index !== null) this.#forgetIndex(index);
    this.deleted.push({ untagged: familiarReference(parseReference(name)) });
  }

  /** If no other name stands for it. */
  #forgetIndex(index: Digest): void {
    const forgotten = this.#context.records.forgetUnnamedIndex(index);
    this.#blobs.push(...(forgotten?.blobs ?? []));
    for (const { imageId } of forgotten?.members ?? []) this.#orphans.add(imageId);
  }

  #delete(id: Digest, options: { prune: boolean; quiet: boolean; force: boolean }): void {
    const { records } = this.#context;
    const { prune, quiet, force } = options;
    const indexes = records.indexes.hiddenOf(id);
    const others = indexes.flatMap((index) => records.indexes.members(index));
    const found = [id, ...others.map(({ imageId }) => imageId)]
      .map((one) => this.#conflictOf(one, { force, ignoreNames: one !== id }))
      .find((conflict) => conflict !== null);
    if (found) {
      // As Docker: whoever only took a name away is told of nothing but what nobody else would ever take away.
      const isDangling = this.#names(id).length === 0 && records.children(id).length === 0;
      if (quiet && (!isDangling || found.isUse)) return;
      throw conflictError(id, found);
    }
    const facts = records.factsOf(id);
    for (const name of this.#names(id)) this.#untag(id, name);
    for (const index of indexes) this.#forgetIndex(index);
    records.delete(id);
    // As Docker: without its labels, which are gone.
    this.#tell("delete", id);
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
