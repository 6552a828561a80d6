//! The Kubernetes API server: filter chain, generic registry, watch cache, discovery, admission, authentication, authorization.
