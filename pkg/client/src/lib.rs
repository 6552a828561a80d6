//! Clients of the API: in-process and TLS transports, shared caches, work queues, the controller pipeline.
