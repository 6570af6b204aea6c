"""What tests share: builders, transcript checks, certificates made on the fly."""
