/** Trees of files as archives and back, through descriptors: no link on the way is ever followed by name. */
export { ownXattrs } from "./attributes.ts";
export {
  type EntryTarRequest,
  entryTar,
  type Owners,
  type TreeTarRequest,
  treeTar,
} from "./read.ts";
export { TreeWriter, type TreeWriterRequest } from "./write.ts";
