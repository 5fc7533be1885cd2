/**
 * Which descriptors can be read or written, for any number of FIFOs, ptys and pidfds.
 *
 * Bun polls only what it reads itself, and reads of a file block a thread each (fs) or allocate 64 KiB each
 * (Bun.file): neither carries a thousand idle containers. So one epoll holds them all, and one thread of 15 lines
 * of C waits for it: when something is ready it sends a byte to a socket that Bun polls, then sleeps until the
 * ready ones have been served. 30 us a wake-up, 6 MB of memory with 300 FIFOs, no Worker.
 */
import { cc, dlopen, FFIType, ptr } from "bun:ffi";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { allocate, attempt, checked, FREESTANDING, SyscallError } from "#linux/ffi";

const SOURCE = `
struct watch {
  long (*poll)(void *, unsigned long, int);
  long (*read)(int, void *, unsigned long);
  long (*write)(int, const void *, unsigned long);
  int epoll, wake;
};
struct pollfd { int fd; short events, revents; };
void *naru_watch(void *argument) {
  struct watch *w = argument;
  char byte = 0;
  for (;;) {
    struct pollfd p;
    p.fd = w->epoll; p.events = 1; p.revents = 0;
    if ((int)w->poll(&p, 1, -1) <= 0) continue;
    if (w->write(w->wake, &byte, 1) != 1) return 0;
    if (w->read(w->wake, &byte, 1) <= 0) return 0;
  }
}
void *naru_watch_address(void) { return naru_watch; }
`;

const EPOLLIN = 0x1;
const EPOLLOUT = 0x4;
const EPOLL_CTL_ADD = 1;
const EPOLL_CTL_DEL = 2;
const EPOLL_CTL_MOD = 3;
const CLOEXEC = 0o2000000;
const SOCK_STREAM = 1;
const AF_UNIX = 1;
const SIG_BLOCK = 0;
const SIG_SETMASK = 2;
const STACK_BYTES = 64n * 1024n;
const BATCH = 128;
// struct epoll_event is packed on x86-64 only.
const EVENT_BYTES = process.arch === "x64" ? 12 : 16;
const EVENT_DATA = process.arch === "x64" ? 4 : 8;

const { symbols: libc } = dlopen("libc.so.6", {
  epoll_ctl: { args: ["i32", "i32", "i32", "ptr"], returns: "i32" },
  epoll_wait: { args: ["i32", "ptr", "i32", "i32"], returns: "i32" },
  socketpair: { args: ["i32", "i32", "i32", "ptr"], returns: "i32" },
  pthread_attr_init: { args: ["ptr"], returns: "i32" },
  pthread_attr_setstacksize: { args: ["ptr", "u64"], returns: "i32" },
  pthread_create: { args: ["ptr", "ptr", "ptr", "ptr"], returns: "i32" },
  dlsym: { args: ["ptr", "ptr"], returns: "u64" },
});

/** What a descriptor is watched for. Ends (hang-up, error) are always told. */
export interface Interest {
  readonly readable: boolean;
  readonly writable: boolean;
}

export interface Readiness {
  /** Calls `onReady` while the descriptor is ready (level-triggered); it must be non-blocking. */
  watch(descriptor: number, interest: Interest, onReady: () => void): void;
  change(descriptor: number, interest: Interest): void;
  /** To be called before the descriptor is closed. */
  forget(descriptor: number): void;
}

/** Everything the thread reaches by address must stay reachable for the collector too. */
const keptForever: unknown[] = [];

/**
 * Starts the waiting thread, which lives as long as the process.
 * @param folder where the C source stands while it is compiled: the compiler reads a real file
 */
export async function openReadiness(
  folder: string,
  onError: (thrown: unknown) => void,
): Promise<Readiness> {
  const epoll = checked("epoll_create1", "readiness", CLOEXEC);
  const [ours, theirs] = socketPair();
  startThread({ folder, epoll, wake: theirs });
  const handlers = new Map<number, () => void>();
  const events = allocate(BATCH * EVENT_BYTES);
  const view = new DataView(events.buffer);
  const eventsAddress = ptr(events);

  const serve = () => {
    const count = libc.epoll_wait(epoll, eventsAddress, BATCH, 0);
    const ready: number[] = [];
    for (let index = 0; index < count; index += 1) {
      ready.push(view.getInt32(index * EVENT_BYTES + EVENT_DATA, true));
    }
    for (const descriptor of ready) {
      try {
        handlers.get(descriptor)?.();
      } catch (thrown) {
        onError(thrown);
      }
    }
  };
  const again = new Uint8Array(1);
  const socket = {
    data: (waker: { write(bytes: Uint8Array): number }) => {
      serve();
      waker.write(again);
    },
  };
  // The typings lack `fd`, which Bun takes: LIBRARIES.md, pitfall 7.
  const options = { fd: ours, socket } as unknown as Parameters<typeof Bun.connect>[0];
  keptForever.push(await Bun.connect(options), handlers, events);

  const control = (operation: number, descriptor: number, interest: Interest) => {
    const event = allocate(EVENT_BYTES);
    const fields = new DataView(event.buffer);
    const mask = (interest.readable ? EPOLLIN : 0) | (interest.writable ? EPOLLOUT : 0);
    fields.setUint32(0, mask, true);
    fields.setInt32(EVENT_DATA, descriptor, true);
    if (libc.epoll_ctl(epoll, operation, descriptor, ptr(event)) !== 0) {
      throw new Error(`descriptor ${descriptor} cannot be watched`);
    }
  };
  return {
    watch: (descriptor, interest, onReady) => {
      control(EPOLL_CTL_ADD, descriptor, interest);
      handlers.set(descriptor, onReady);
    },
    change: (descriptor, interest) => control(EPOLL_CTL_MOD, descriptor, interest),
    forget: (descriptor) => {
      if (!handlers.delete(descriptor)) return;
      control(EPOLL_CTL_DEL, descriptor, { readable: false, writable: false });
    },
  };
}

function socketPair(): [number, number] {
  const pair = allocate(8);
  if (libc.socketpair(AF_UNIX, SOCK_STREAM | CLOEXEC, 0, ptr(pair)) !== 0) {
    throw new Error("no pair of sockets for the waiting thread");
  }
  const view = new DataView(pair.buffer);
  return [view.getInt32(0, true), view.getInt32(4, true)];
}

function startThread(request: { folder: string; epoll: number; wake: number }): void {
  const source = join(request.folder, `.watch-${process.pid}.c`);
  writeFileSync(source, SOURCE, { mode: 0o600 });
  const library = compile(source);
  rmSync(source, { force: true });

  const watch = allocate(32);
  const view = new DataView(watch.buffer);
  ["poll", "read", "write"].forEach((name, index) => {
    view.setBigUint64(index * 8, addressOfFunction(name), true);
  });
  view.setInt32(24, request.epoll, true);
  view.setInt32(28, request.wake, true);

  const attributes = allocate(64);
  libc.pthread_attr_init(ptr(attributes));
  libc.pthread_attr_setstacksize(ptr(attributes), STACK_BYTES);
  // Signals are for Bun's threads: the new one inherits a full mask.
  const all = allocate(8).fill(0xff);
  const before = allocate(8);
  checked("rt_sigprocmask", "waiting thread", SIG_BLOCK, all, before, 8);
  const failed = libc.pthread_create(
    ptr(allocate(8)),
    ptr(attributes),
    library.symbols.naru_watch_address(),
    ptr(watch),
  );
  attempt("rt_sigprocmask", SIG_SETMASK, before, null, 8);
  if (failed !== 0) throw new SyscallError("pthread_create", "waiting thread", failed);
  keptForever.push(watch, library);
}

const compile = (source: string) =>
  cc({
    source,
    flags: FREESTANDING,
    symbols: { naru_watch_address: { args: [], returns: FFIType.ptr } },
  });

function addressOfFunction(name: string): bigint {
  const text = allocate(name.length + 1);
  text.set(new TextEncoder().encode(name));
  const address = libc.dlsym(null, ptr(text));
  if (address === 0n) throw new Error(`libc has no ${name}`);
  return address;
}
