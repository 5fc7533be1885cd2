/** gRPC over connections that HTTP has given away, and the messages that BuildKit and buildx exchange. */
export { GrpcConnection, type GrpcMessage, type GrpcMetadata, type GrpcStream } from "./client.ts";
export { type GrpcCall, GrpcRouter, serveGrpc } from "./server.ts";
export { failureIn, type GrpcDetail, grpcFailure, GrpcFailure, GRPC_STATUS } from "./status.ts";
export {
  BuildHistoryRecordSchema,
  Control,
  DescriptorSchema,
  type SolveRequest,
  SolveRequestSchema,
  StatusResponseSchema,
} from "./generated/buildkit_pb.ts";
export {
  LLBBridge,
  type ResultSchema,
  type SolveRequest as FrontendRequest,
  SolveRequestSchema as FrontendRequestSchema,
} from "./generated/gateway_pb.ts";
export { Auth, BytesMessageSchema, FileSend, FileSync } from "./generated/filesync_pb.ts";
export {
  Content,
  ReadContentRequestSchema,
  ReadContentResponseSchema,
  WriteContentRequestSchema,
  WriteContentResponseSchema,
} from "./generated/content_pb.ts";
export { PacketSchema } from "./generated/fsutil_pb.ts";
export { decodeFilePacket, type FileStat } from "./packets.ts";
export { bytesMessage, dataPacket, statPacket } from "./packets-out.ts";
export { type Definition, OpSchema } from "./generated/ops_pb.ts";
export { Secrets } from "./generated/secrets_pb.ts";
export { SSH } from "./generated/ssh_pb.ts";
export { StatusSchema } from "./generated/status_pb.ts";
export { Upload } from "./generated/upload_pb.ts";
export { create, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
export { timestampFromDate } from "@bufbuild/protobuf/wkt";
