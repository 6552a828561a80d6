//! Cluster DNS: Services, headless Services and pod host names from shared caches, the rest forwarded.
