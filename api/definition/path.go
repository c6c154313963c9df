package definition

import (
	"fmt"
	"strings"
)

func childPath(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func indexPath(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

// parentPath is the path without its last key or index.
func parentPath(path string) string {
	return path[:max(0, strings.LastIndexAny(path, ".["))]
}
