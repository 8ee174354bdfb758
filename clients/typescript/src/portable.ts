// What the entries for Node and for browsers have in common.

export { bucket } from './bucket.js';
export type { BaseClient, Settings } from './client.js';
export type { Context, ContextObject, Details, ErrorCode, FlagType, FlagTypes } from './details.js';
export { ChangeoverError, type ErrorKind, type Fault } from './errors.js';
export type { Gate, GateState, Lease } from './gates.js';
export type { Logger } from './log.js';
export type { Migrator, MigratorParts, MigratorSettings, Order, Side, Stage } from './migrator.js';
export type { Stats } from './observations.js';
export type { Allocation, Part, SideAnswer, SideOptions, SidesOptions, UserId } from './routing.js';
export { insert, minted, remove, update, upsert } from './writes.js';
export type { Insert, Minted, Operation, Remove, Row, Update, Upsert, WriteOptions, WriteResult, Writes, Written } from './writes.js';
