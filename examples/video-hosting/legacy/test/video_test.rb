# frozen_string_literal: true

require_relative "test_helper"

class VideoTest < TestCase
  def test_counter_caches_count
    ada = user
    first = video(ada)
    charge(first, 1)
    first.charges.destroy(charge(first, 2))
    assert_equal [2, 1], [ada.reload.videos_count, first.reload.charges_count]
  end

  def test_giving_moves_open_charges_and_counters
    ada, grace, first = user, user("Grace"), nil
    first = video(ada)
    billed = charge(first, 100, period: month)
    Period.close!(billed.period)
    open = charge(first, 200, period: month)
    first.give_to!(grace)
    assert_equal grace, first.reload.user
    assert_equal grace.id, open.reload.user_id
    assert_equal ada.id, billed.reload.user_id
    assert_equal [1, 2], [ada.reload.videos_count, grace.reload.videos_count]
  end

  def test_giving_back_restores
    ada, grace = user, user("Grace")
    first = video(ada)
    paid = charge(first, 300)
    first.give_to!(grace)
    first.give_to!(ada)
    assert_equal [ada.id, ada.id], [first.reload.user_id, paid.reload.user_id]
  end

  def test_two_editors_do_not_overwrite_one_another
    first = video
    mine, yours = Video.find(first.id), Video.find(first.id)
    mine.update!(title: "Mine")
    assert_raises(ActiveRecord::StaleObjectError) { yours.update!(title: "Yours") }
    assert_equal "Mine", first.reload.title
  end

  def test_the_owner_is_touched
    ada = user
    ada.update_columns(updated_at: Time.utc(2020))
    video(ada)
    assert_operator ada.reload.updated_at, :>, Time.utc(2021)
  end

  def test_scopes_and_includes
    ada = user
    video(ada, "B")
    video(ada, "A")
    assert_equal %w[A B], ada.videos.uploaded.order(:title).pluck(:title)
    found = User.includes(videos: :charges).find(ada.id)
    assert_equal 3, found.videos.size
    assert_equal 3, User.joins(:videos).where(id: ada.id).count
  end

  def test_an_update_that_joins
    ada = user(company: "Joined")
    video(ada)
    assert_equal 2, Video.where(user: User.where(id: ada.id, company: "Joined")).update_all(title: "Joined")
    assert_equal 2, ada.videos.where(title: "Joined").count
  end

  def test_a_video_without_a_user_is_refused_by_the_database
    assert_raises(ActiveRecord::InvalidForeignKey) do
      Video.transaction(requires_new: true) { video.update_columns(user_id: User.maximum(:id) + 99) }
    end
  end

  def test_a_new_number
    first = Video.create!(user: user, title: "Numbered")
    renumbered = Video.maximum(:id) + 5_000
    assert_equal 1, Video.where(id: first.id).update_all(id: renumbered)
    assert_equal "Numbered", Video.find(renumbered).title
  end
end
