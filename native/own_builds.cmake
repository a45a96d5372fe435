# Removes build directories below DIRECTORY that belong to another source directory, as in a copy of a built tree: CMake refuses them.
#
#   cmake -DDIRECTORY=../target/native -P own_builds.cmake
file(REAL_PATH ${CMAKE_CURRENT_LIST_DIR} own)
file(GLOB caches ${DIRECTORY}/*/CMakeCache.txt ${DIRECTORY}/check/*/CMakeCache.txt)
foreach(cache IN LISTS caches)
  file(STRINGS ${cache} line REGEX "^CMAKE_HOME_DIRECTORY:INTERNAL=" LIMIT_COUNT 1)
  string(REGEX REPLACE "^[^=]*=" "" source "${line}")
  file(REAL_PATH "${source}" source)
  if(NOT source STREQUAL own)
    get_filename_component(build ${cache} DIRECTORY)
    message(STATUS "${build} was configured for ${source}, and is built again for ${own}")
    file(REMOVE_RECURSE ${build})
  endif()
endforeach()
