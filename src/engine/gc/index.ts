/** Leases, then mark and sweep of content, layers and snapshots. */
export {
  type Collected,
  type GarbageCollector,
  type GarbageStores,
  type Lease,
  type Needed,
  openGarbageCollector,
} from "./garbage-collector.ts";
