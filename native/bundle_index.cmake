# cmake -DDIRECTORY=… -DFILES=a,b -P bundle_index.cmake: writes index.txt for the loader (NativeCache.java): the hash of its
# other lines, which names the cache directory; then each file's hash, size and name, in the order given.
string(REPLACE "," ";" names "${FILES}")
foreach(name IN LISTS names)
  file(SHA256 "${DIRECTORY}/${name}" hash)
  file(SIZE "${DIRECTORY}/${name}" size)
  string(APPEND files "${hash} ${size} ${name}\n")
endforeach()
string(SHA256 hash "${files}")
file(WRITE "${DIRECTORY}/index.txt" "${hash}\n${files}")
