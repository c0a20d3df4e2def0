"""What people write for the library: YAML and JSON files, read within bounds. (Records of them: `interp.documents.records`.)"""

from interp.documents.reading import check_keys, read_document, short
from interp.documents.shipped import named, shipped

__all__ = ["check_keys", "named", "read_document", "shipped", "short"]
