# The viewer of pages: viewer/web bundled with its pinned packages into viewer/web/dist/page.js. Users need neither
# node nor a network, only who builds does; a build without them succeeds and leaves pages out, and says so.
get_filename_component(web "${CMAKE_CURRENT_SOURCE_DIR}/../viewer/web" ABSOLUTE)
file(GLOB page_sources CONFIGURE_DEPENDS "${web}/src/*.js")
add_custom_command(
  OUTPUT "${web}/dist/page.js"
  COMMAND "${CMAKE_COMMAND}" "-DWEB=${web}" "-DFOLDER=${CMAKE_CURRENT_BINARY_DIR}/page" "-DPYTHON=${Python_EXECUTABLE}"
          -P "${CMAKE_CURRENT_LIST_DIR}/build_page.cmake"
  DEPENDS ${page_sources} "${web}/package.json" "${web}/package-lock.json" "${web}/build.mjs"
          "${CMAKE_CURRENT_LIST_DIR}/build_page.cmake"
  COMMENT "Bundling the viewer of pages"
  VERBATIM)
add_custom_target(page ALL DEPENDS "${web}/dist/page.js")
install(FILES "${web}/dist/page.js" DESTINATION neural/viewer/web/dist OPTIONAL)
