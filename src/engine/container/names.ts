/** What containers may be called, and names for those that nobody named. */
import { conflict, invalid } from "#base";

/** What Docker tells of names that it refuses. */
export const ALLOWED_NAME = "[a-zA-Z0-9][a-zA-Z0-9_.-]";
const PATTERN = new RegExp(`^${ALLOWED_NAME}+$`);
/** Docker has no limit; a request has one, and longer names are of no use to anyone. */
const NAME_LIMIT = 8192;
/** Tries with two words before a number is added. */
const PLAIN_TRIES = 6;

export const isAllowedName = (name: string): boolean => PATTERN.test(name);

/** A name as clients may write it (`/web` or `web`), without the slash. @throws EngineError "invalid" */
export function parseContainerName(text: string): string {
  const name = text.startsWith("/") ? text.slice(1) : text;
  if (!isAllowedName(name) || name.length > NAME_LIMIT) {
    throw invalid(`Invalid container name (${text}), only ${ALLOWED_NAME} are allowed`);
  }
  return name;
}

/** Docker's sentence for a name that another container has; tools match on it. */
export const nameInUse = (name: string, ownerId: string): Error =>
  conflict(
    `Conflict. The container name "/${name}" is already in use by container "${ownerId}". ` +
      "You have to remove (or rename) that container to be able to reuse that name.",
  );

/** A free two-word name such as `amber_heron`. */
export function inventName(isTaken: (name: string) => boolean, random = Math.random): string {
  const pick = (words: readonly string[]): string =>
    words[Math.floor(random() * words.length)] ?? "plain";
  for (let attempt = 0; ; attempt += 1) {
    const name = `${pick(ADJECTIVES)}_${pick(NOUNS)}`;
    const numbered =
      attempt < PLAIN_TRIES ? name : `${name}${Math.floor(random() * 10 ** attempt)}`;
    if (!isTaken(numbered)) return numbered;
  }
}

const ADJECTIVES: readonly string[] = (
  "able amber ample azure balmy blithe bold brave breezy brisk bright calm candid clear clever cosy crisp " +
  "curious dapper daring deft eager early earnest easy elated fair fleet fluent fond frank fresh gallant " +
  "gentle gilded glad golden graceful grand happy hardy hazel hearty honest humble ideal ivory jaunty jolly " +
  "jovial keen kind lively loyal lucid lucky lunar mellow merry mild mighty misty modest neat nimble noble " +
  "novel opal patient placid plucky polite prime proud quick quiet radiant ready regal rosy rustic sage " +
  "serene sharp silent silver simple sleek smooth snowy solar solid sound spry stable steady stellar still " +
  "sturdy subtle sunny swift tender tidy tranquil trusty upbeat valiant velvet vivid warm wise witty zesty"
).split(" ");

const NOUNS: readonly string[] = (
  "albatross alder anchor aspen atlas badger barge bay beacon beech birch bison bittern breeze brook buoy " +
  "canal canoe canyon cape cedar cliff clover comet compass coral cove crane creek curlew cutter cypress " +
  "dale delta dolphin dory dune eagle egret elm estuary falcon fathom fern ferry finch fjord galleon gannet " +
  "glacier glade gorge gull harbor harbour hawk hazel heath heron hill horizon iris island jetty juniper " +
  "kayak kestrel ketch lagoon lake landing lantern lark lighthouse linden loch lotus maple marina marsh " +
  "meadow mesa moor moss oak oasis orchid osprey otter pebble pelican petrel pier pilot pine plover pond " +
  "poplar port prairie prow puffin quay raft rapids raven reed reef ridge river robin rudder sail salmon " +
  "schooner seal shoal shore skiff sloop sparrow spruce stork strait stream summit swallow swan teal tern " +
  "thistle tide trawler tugboat valley vessel voyage walrus waterfall wave whale wharf willow wren yacht yew"
).split(" ");
