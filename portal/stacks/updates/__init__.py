"""Whether registries have newer images than those that serve. Looks, tells, and changes nothing by itself."""
